"""`cnncli predict`: predict class probabilities of images."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnncli.errors import ConfigError, ImageError, Message, RunError, printable
from cnncli.images.decode import ImageSource, PixelSpec, decode, file_content
from cnncli.images.formats import image_errors
from cnncli.inference.ensemble import Rule, combine, require_same_classes
from cnncli.inference.prediction import Prediction
from cnncli.inference.predictor import Answer, Predictor, load_predictor, with_coverage
from cnncli.inference.sources import STDIN, NamedSource, find_images, read_stdin
from cnncli.inference.spec import PredictorSpec
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.runtime.threads import batched, map_ordered, one_blas_thread, workers
from cnncli.storage.atomic import output_path, write_atomically
from cnncli.terminal.console import Console

IMAGES_AT_A_TIME = 16
"""Number of images that a thread decodes and classifies together; at least one request of the engine."""

LEAST_PROBABILITY = 1e-6
"""Distance of the probabilities in a submission from 0 and 1, which could cost an infinite log loss."""

SHOW_PROGRESS_FROM = 100
"""Smallest number of images for which progress is shown."""

Result = Prediction | ImageError
"""Prediction for an image, or the reason why there is none."""


@dataclass(frozen=True)
class Results:
    """Results of images, computed while they are iterated, which is possible once.

    Attributes:
        spec: Classes, and the thresholds of several labels.
        abstains: Whether images can be unknown.
        n: Number of images.
        found: A `Prediction` per image, or the `ImageError` of an unusable image.
    """

    spec: PredictorSpec
    abstains: bool
    n: int
    found: Generator[Result, None, None]

    def __iter__(self) -> Iterator[Result]:
        """Return the results."""
        return self.found


def predict(
    run: RunFolder,
    images: Sequence[str | ImageSource],
    top: int | None = None,
    console: Console | None = None,
    coverage: float | None = None,
) -> Results:
    """Predict images one after another, in the order given; for the arguments, see `cnncli.predict`.

    The path `-` stands for an image on standard input. The console shows progress if there are many images.

    Returns:
        The results in the order of the images. The run is opened when this function is called.

    Raises:
        ConfigError: `top` is below 1, `coverage` is not in 0-1, or a path is empty.
        RunError: The run is unfinished or damaged, or has no calibration for a given coverage.
    """
    _check_top(top)
    _check_coverage(coverage)
    require_finished(run)
    sources = list(find_images(images, reads_arrays=PredictorSpec.load(run.engine).bands is not None))
    predictor = open_predictor(run, coverage, batch=1 if len(sources) == 1 else None)
    return _results(sources, predictor, top, console)


def open_predictor(run: RunFolder, coverage: float | None = None, batch: int | None = None) -> Predictor:
    """Load the predictor of a finished run with a coverage; for `batch`, see `load_predictor`."""
    _check_coverage(coverage)
    require_finished(run)
    predictor = load_predictor(run.engine, run.model, batch=batch)
    return predictor if coverage is None else with_coverage(predictor, coverage, run)


def predict_ensemble(
    runs: Sequence[RunFolder],
    rule: Rule,
    images: Sequence[str | ImageSource],
    top: int | None = None,
    console: Console | None = None,
) -> Results:
    """Predict with several runs together; see `combine` for the rule and `predict` for everything else.

    Raises:
        ConfigError: The runs do not have the same classes, or an image comes from standard input, which is read once.
    """
    _check_top(top)
    if STDIN in images:
        raise _invalid("PATH", STDIN, "files or folders, because every run reads each image")
    for run in runs:
        require_finished(run)
    specs = [PredictorSpec.load(run.engine) for run in runs]
    require_same_classes([run.path.name for run in runs], specs)
    n_classes = len(specs[0].classes)
    found = [predict(run, images, n_classes, None if place else console) for place, run in enumerate(runs)]
    _, thresholds = combine([np.zeros((1, n_classes))] * len(specs), [spec.thresholds for spec in specs], rule)
    spec = replace(specs[0], thresholds=thresholds)
    combined = (_combine_results(results, specs, rule, top) for results in zip(*found, strict=True))
    return Results(spec, abstains=False, n=found[0].n, found=combined)


def _combine_results(results: Sequence[Result], specs: Sequence[PredictorSpec], rule: Rule, top: int | None) -> Result:
    """Combine the predictions of an image with all classes, or return the first error."""
    predictions = [one for one in results if isinstance(one, Prediction)]
    if len(predictions) < len(results):
        return next(one for one in results if isinstance(one, ImageError))
    named = [dict(zip(one.labels, one.probabilities, strict=True)) for one in predictions]
    scores = [np.array([[one[name] for name in specs[0].classes]]) for one in named]
    combined, thresholds = combine(scores, [spec.thresholds for spec in specs], rule)
    return Prediction.of(predictions[0].path, Answer(combined[0]), replace(specs[0], thresholds=thresholds), top)


def write_submission(
    run: RunFolder, images: Sequence[str | ImageSource], out: Path, console: Console | None = None
) -> list[ImageError]:
    """Write a submission to a competition such as Kaggle's Dogs vs. Cats Redux: a CSV with a row per image.

    The columns are `id`, the name of the file without its suffix, and `label`, the probability of the second class (of
    cats and dogs: dogs), within 10⁻⁶ of 0 and 1. Rows are sorted by the numbers in their ids.

    Returns:
        The errors of unusable images; if there are any, nothing is written.

    Raises:
        ConfigError: Several images have the same id.
        CnncliError: `out` is not the name of a CSV, or its folder does not exist.
        RunError: The run is unfinished or damaged, or does not have two exclusive classes.
    """
    path = output_path(out, (".csv",))
    require_finished(run)
    spec = PredictorSpec.load(run.engine)
    if len(spec.classes) != 2 or spec.is_multi_label:
        kind = "several labels per image" if spec.is_multi_label else f"{len(spec.classes)} classes"
        text = f"{printable(run.path.name)}: has {kind}; a submission with one probability per image needs two classes."
        raise RunError(Message("run-not-binary", text, path=run.path, received=kind, expected=2))
    results = list(predict(run, images, len(spec.classes), console))
    if refused := [one for one in results if isinstance(one, ImageError)]:
        return refused
    write_atomically(path, _submission([one for one in results if isinstance(one, Prediction)], spec.classes[1]))
    return []


def _submission(predictions: Sequence[Prediction], positive: str) -> str:
    """Return the text of a submission. Raises ConfigError if several images have the same id."""
    ids = Counter(Path(one.path).stem for one in predictions)
    if repeated := [name for name, count in ids.items() if count > 1]:
        raise _invalid("PATH", f"several images with the id {printable(repeated[0])}", "names that differ")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("id", "label"))
    for one in sorted(predictions, key=lambda one: _by_numbers(Path(one.path).stem)):
        probability = one.probabilities[one.labels.index(positive)]
        kept = min(max(probability, LEAST_PROBABILITY), 1 - LEAST_PROBABILITY)
        table.writerow((Path(one.path).stem, f"{kept:.6f}"))
    return text.getvalue()


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name) if part]


def predict_imagenet(
    network: str, images: Sequence[str | ImageSource], top: int | None = None, console: Console | None = None
) -> Results:
    """Predict the classes of ImageNet with a published network and its top, as `predict` does with a run.

    Raises:
        ConfigError: `top` is below 1, a path is empty, or there is no such network with published classes.
        WeightsError: Its weights cannot be downloaded or read.
    """
    from cnncli.inference.pretrained import load_pretrained  # a run needs neither configs nor networks

    _check_top(top)
    sources = list(find_images(images, reads_arrays=False))
    predictor = load_pretrained(network)
    return _results(sources, predictor, top, console)


def _check_top(top: int | None) -> None:
    if top is not None and top < 1:
        raise _invalid("top", top, "a number of classes of at least 1")


def _check_coverage(coverage: float | None) -> None:
    if coverage is not None and not 0 < coverage <= 1:
        raise _invalid("coverage", coverage, "a fraction above 0 and at most 1")


def _results(sources: Sequence[NamedSource], predictor: Predictor, top: int | None, console: Console | None) -> Results:
    abstains = predictor.calibration is not None and predictor.calibration.abstains
    shown_on = console if len(sources) >= SHOW_PROGRESS_FROM else None
    return Results(predictor.spec, abstains, len(sources), predictions(sources, predictor, top, shown_on))


def predictions(
    sources: Sequence[NamedSource], predictor: Predictor, top: int | None, console: Console | None
) -> Generator[Result, None, None]:
    """Predict in threads, each of which decodes a few images and runs the classifier on them."""
    loaded = ((name, _load_lazy_image(name, source)) for name, source in sources)
    tasks = batched(loaded, max(IMAGES_AT_A_TIME, predictor.tail.batch))
    shown = console.progress(len(sources), "predicting") if console else nullcontext()
    with one_blas_thread(), shown as progress:
        for results in map_ordered(lambda task: _predict_some(task, predictor, top), tasks, ahead=2 * workers()):
            if progress is not None:
                progress.advance(len(results))
            yield from results


def _load_lazy_image(name: str, source: ImageSource | ImageError) -> ImageSource | ImageError:
    """Load a Pillow image whose file is still open before threads use it, since its file has a single position."""
    if not isinstance(source, Image.Image):
        return source
    try:
        with image_errors(name):
            content = file_content(source)
            if content is None:
                source.load()
            return content or source
    except ImageError as error:
        return error


def _predict_some(
    sources: Sequence[NamedSource], predictor: Predictor, top: int | None
) -> list[Prediction | ImageError]:
    decoded = [_decode(name, source, predictor.spec.pixels) for name, source in sources]
    pixels = [found for found in decoded if not isinstance(found, ImageError)]
    answers = iter(predictor.answers(np.stack(pixels)) if pixels else ())
    return [
        found if isinstance(found, ImageError) else Prediction.of(name, next(answers), predictor.spec, top)
        for (name, _), found in zip(sources, decoded, strict=True)
    ]


def _decode(name: str, source: ImageSource | ImageError, spec: PixelSpec) -> NDArray[np.uint8] | ImageError:
    if isinstance(source, ImageError):
        return source
    try:
        if name == STDIN:
            source = read_stdin(spec.max_pixels)
        return decode(source, spec, name=name)
    except ImageError as error:
        return error


def _invalid(name: str, received: object, expected: str) -> ConfigError:
    text = f"{name}: received {received}, expected {expected}."
    return ConfigError(Message("usage-value-invalid", text, key=name, received=received, expected=expected))
