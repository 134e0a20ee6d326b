"""Transfer learning for image classification: the commands as functions, for notebooks and scripts.

    run = cnncli.train("configs/quickstart.yaml", {"training.epochs": 5})
    run.metrics["test"].top1
    cnncli.predict("photo.jpg", run=run)[0].labels

Each function imports what it needs when it is called, so `import cnncli` is fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncli.version import __version__ as __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from cnncli.images.decode import ImageSource
    from cnncli.inference.prediction import Prediction
    from cnncli.inference.predictor import TrainedClassifier
    from cnncli.recipes.evaluate import Evaluation
    from cnncli.recipes.train import Run
    from cnncli.runs.folder import RunFolder
    from cnncli.terminal.console import Console

    AnyPath = str | PathLike[str]
    AnyImage = AnyPath | bytes | Image | NDArray[Any]

__all__ = ["evaluate", "finetune", "load", "predict", "train"]


def train(
    config: AnyPath | Mapping[str, object], overrides: Mapping[str, object] = {}, *, runs_dir: AnyPath | None = None
) -> Run:
    """Train a classifier, or resume a run.

    Args:
        config: A YAML file, a folder of images, settings as nested mappings, or a run or its name. An interrupted run
            is resumed; a finished one is returned unchanged.
        overrides: Settings by dotted key, e.g. `{"training.optimizer.learning_rate": 1e-4}`; for a run only
            `training.epochs`, which extends its last stage.
        runs_dir: Folder of the runs; default: `CNNCLI_RUNS`, else `runs` in the current folder.

    Returns:
        The finished run: `run.path`, `run.metrics["test"].top1`, `run.seconds`.

    Raises:
        CnncliError: Problems that the user can fix; `error.problems` has a message for each, with code and facts.
    """
    from cnncli.config.overrides import read_epochs
    from cnncli.config.reader import config_from_mapping
    from cnncli.dataset.source import read_config
    from cnncli.recipes.resume import resume
    from cnncli.recipes.train import train as recipe
    from cnncli.runs.listing import find_run

    directory = _runs_dir(runs_dir)
    if isinstance(config, Mapping):
        return recipe(config_from_mapping(config, overrides), directory, _console())
    source = _path(config, "config")
    if (run := find_run(source, directory)) is not None:
        return resume(run, _console(), read_epochs(overrides))
    return recipe(read_config(source, overrides), directory, _console())


def finetune(
    run: AnyPath | None = None,
    unfreeze: int | str | None = None,
    *,
    epochs: int | None = None,
    learning_rate: float | None = None,
    runs_dir: AnyPath | None = None,
) -> Run:
    """Fine-tune a finished run: train more of its backbone in a new run that records it as its parent.

    Args:
        run: A run (its directory, or the result of `train`) or its name; default: the newest finished one.
        unfreeze: N for the last N backbone layers with weights, a layer's name, or `all`; default: 4.
        epochs: Maximum number of epochs; default: 10.
        learning_rate: Default: a tenth of the parent's or, if that was fine-tuned, that of its last stage.
        runs_dir: As in `train`.

    Raises:
        CnncliError: Invalid settings, unknown layers, or images that are missing or have changed.
    """
    from cnncli.recipes.finetune import FinetuneSettings
    from cnncli.recipes.finetune import finetune as recipe

    settings = FinetuneSettings(unfreeze, epochs, learning_rate)
    return recipe(_open(run, runs_dir), settings, _runs_dir(runs_dir), _console())


def evaluate(
    run: AnyPath | None = None,
    *,
    split: str | None = None,
    data: AnyPath | None = None,
    allow_missing: bool = False,
    crops: int = 1,
    runs_dir: AnyPath | None = None,
) -> Evaluation:
    """Evaluate a run on its test split (else validation), on a named split, or on a different folder or table.

    Args:
        run: As in `finetune`.
        split: `train`, `validation` or `test` of the run's own dataset.
        data: Folder, or table of labels, to evaluate instead: its test split, or all images if it has no splits.
        allow_missing: Whether `data` may lack classes of the run.
        crops: 5 or 10 to average the predictions for crops of each image.
        runs_dir: As in `train`.

    Returns:
        `evaluation.metrics` with loss, top1, its interval, metrics per class and the confusion matrix.

    Raises:
        CnncliError: The run, the split or the images cannot be used.
    """
    from cnncli.recipes.evaluate import evaluate as recipe

    folder = None if data is None else _path(data, "data")
    return recipe(_open(run, runs_dir), _console(), split, folder, allow_missing, crops=crops)


def predict(
    images: AnyImage | Iterable[AnyImage],
    *,
    run: AnyPath | None = None,
    top: int | None = None,
    coverage: float | None = None,
    runs_dir: AnyPath | None = None,
) -> list[Prediction]:
    """Predict the class probabilities of images.

    Args:
        images: One or more images: files, folders or patterns as paths, the content of a file as bytes, Pillow images,
            or arrays: uint8 (0-255) of shape (height, width, 3), RGB, or (height, width). All are processed like files:
            EXIF orientation, transparency on white, resized as in training.
        run: As in `finetune`.
        top: Number of classes per image, the most probable first; default: 5 or, if an image can have several labels,
            all labels whose thresholds are reached.
        coverage: Fraction of the run's validation images (0-1) that are no more doubtful than an answered image; for
            others, `prediction.unknown` is true. 1: none is; default: the run's `evaluation.coverage`.
        runs_dir: As in `train`.

    Returns:
        A prediction per image, in order.

    Raises:
        DataError: Images cannot be used, one message each.
        ConfigError: `top` is below 1, `coverage` is not in 0-1, or a path is empty.
    """
    from cnncli.errors import DataError, ImageError
    from cnncli.networks.backend import standard_settings
    from cnncli.recipes.predict import predict as recipe

    with standard_settings():
        results = list(recipe(_open(run, runs_dir), _list_of(images), top, coverage=coverage))
    problems = [problem for result in results if isinstance(result, ImageError) for problem in result.problems]
    if problems:
        raise DataError(problems)
    return [result for result in results if not isinstance(result, ImageError)]


def load(run: AnyPath | None = None, *, runs_dir: AnyPath | None = None) -> TrainedClassifier:
    """Load the classifier of a run.

    Args:
        run: As in `finetune`.
        runs_dir: As in `train`.

    Returns:
        The Keras model, `classifier.model`, from raw RGB pixels (0-255) to class scores, and the class names in the
        order of the scores, `classifier.classes`.

    Raises:
        RunError: The run is missing, unfinished or damaged.
    """
    from cnncli.inference.predictor import load_trained

    return load_trained(_open(run, runs_dir))


def _list_of(images: AnyImage | Iterable[AnyImage]) -> list[str | ImageSource]:
    """Return one or several images as a list. Bytes and arrays are iterable, but count as one image."""
    is_one = isinstance(images, str | bytes | PathLike) or hasattr(images, "shape") or not isinstance(images, Iterable)
    several: Iterable[Any] = [images] if is_one else images  # type: ignore[assignment]  # checked above
    return [fspath(image) if isinstance(image, PathLike) else image for image in several]


def _runs_dir(option: AnyPath | None) -> Path:
    from cnncli.runs.folder import runs_dir_from

    return runs_dir_from(None if option is None else _path(option, "runs_dir"))


def _open(run: AnyPath | None, runs_dir: AnyPath | None) -> RunFolder:
    from cnncli.runs.listing import open_run

    return open_run(run if run is None else _path(run, "run"), _runs_dir(runs_dir))


def _path(value: AnyPath, argument: str) -> Path:
    """Convert an argument to a path. An empty path must not stand for the current folder."""
    from cnncli.errors import ConfigError, Message

    if not fspath(value):
        text = f'{argument}: received an empty path; write "." for the current folder.'
        raise ConfigError(Message("usage-empty", text, key=argument, received=""))
    return Path(value)


def _console() -> Console:
    from cnncli.terminal.console import Console

    return Console(live=False)
