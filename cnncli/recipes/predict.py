"""`cnncli predict`: class probabilities of any images."""

from __future__ import annotations

import glob
import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.labels.folders import images_below
from cnncli.errors import ConfigError, ImageError, Message
from cnncli.images.decode import decode
from cnncli.images.formats import SIGNATURE_BYTES, format_of
from cnncli.images.limits import most_bytes
from cnncli.inference.predictor import Predictor, load_predictor
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.runtime.threads import batched, map_ordered, workers
from cnncli.terminal.console import Console

STDIN = "-"
BLOCK_BYTES = 1 << 20
MOST_STREAM_BYTES = 840_000_000
"""On standard input, which is kept in memory: the largest image in eight bits and four channels, not compressed."""

IMAGES_AT_A_TIME = 16
"""Decoded and classified by one thread together; at least one request of the engine."""

SHOW_PROGRESS_FROM = 100
"""Smallest number of images for which progress is shown."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """One image's classes.

    Attributes:
        path: as it was given, or found below a folder that was given.
        labels: class names, the most probable first.
        probabilities: of these, 0-1.
    """

    path: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """As `predict --json` prints it."""
        pairs = zip(self.labels, self.probabilities, strict=True)
        return {"path": self.path, "predictions": [{"label": label, "probability": p} for label, p in pairs]}


def predict(
    run: RunFolder, paths: Sequence[str | Path], top: int = 5, console: Console | None = None
) -> Iterator[Prediction | ImageError]:
    """Predict images one after another, in the order given.

    Args:
        run: a finished run.
        paths: files, folders (searched for images), glob patterns, `-` for an image on standard input.
        top: maximum number of classes per image.
        console: shows the progress of many images; default: no progress is shown.

    Returns:
        An iterator with a `Prediction` per image, or the `ImageError` of an image that cannot be used. The run is
        opened when this function is called.

    Raises:
        ConfigError: `top` is below 1, or a path is empty.
        RunError: the run is not finished, or damaged.
    """
    if top < 1:
        text = f"top: received {top}, expected a number of classes of at least 1."
        raise ConfigError(Message("usage-value-invalid", text, key="top", received=top, expected="at least 1"))
    if "" in paths:
        text = "paths: one of them is empty; `.` stands for the current folder."
        raise ConfigError(Message("usage-empty", text, key="paths", received=""))
    require_finished(run)
    names = list(_expand(str(path) for path in paths))
    predictor = load_predictor(run.engine, run.model, batch=1 if len(names) == 1 else None)
    if predictor.note:
        log.warning(predictor.note)
    results = _predictions(names, predictor, top)
    return (
        results if console is None or len(names) < SHOW_PROGRESS_FROM else _show_progress(results, len(names), console)
    )


def _show_progress(
    results: Iterable[Prediction | ImageError], total: int, console: Console
) -> Iterator[Prediction | ImageError]:
    with console.progress(total, "predicting") as progress:
        for result in results:
            progress.advance()
            yield result


def _predictions(
    names: Sequence[str | ImageError], predictor: Predictor, top: int
) -> Iterator[Prediction | ImageError]:
    """In threads of which each decodes a few images and runs the classifier on them."""
    tasks = batched(names, max(IMAGES_AT_A_TIME, predictor.tail.batch))
    for results in map_ordered(lambda task: _predict_some(task, predictor, top), tasks, ahead=2 * workers()):
        yield from results


def _predict_some(names: Sequence[str | ImageError], predictor: Predictor, top: int) -> list[Prediction | ImageError]:
    decoded = [_decode(name, predictor) for name in names]
    images = [pixels for _, pixels in decoded if not isinstance(pixels, ImageError)]
    scores = iter(predictor.probabilities(np.stack(images)) if images else ())
    return [
        pixels if isinstance(pixels, ImageError) else _prediction(name, next(scores), predictor, top)
        for name, pixels in decoded
    ]


def _prediction(name: str, probabilities: NDArray[np.float64], predictor: Predictor, top: int) -> Prediction:
    order = np.argsort(-probabilities, kind="stable")[:top]
    labels = tuple(predictor.spec.classes[index] for index in order)
    return Prediction(name, labels, tuple(float(probabilities[index]) for index in order))


def _decode(name: str | ImageError, predictor: Predictor) -> tuple[str, NDArray[np.uint8] | ImageError]:
    if isinstance(name, ImageError):
        return str(name.path), name
    try:
        recipe = predictor.spec.pixels
        source = _from_stdin(min(most_bytes(recipe.max_pixels), MOST_STREAM_BYTES)) if name == STDIN else Path(name)
        return name, decode(source, recipe, name=name)
    except ImageError as error:
        return name, error


def _from_stdin(most: int) -> bytes:
    """Read standard input, or as much of it as shows that it is not an image: a stream may be endless."""
    data = io.BytesIO()
    while (block := sys.stdin.buffer.read(BLOCK_BYTES)) and data.tell() <= most:
        data.write(block)
        if format_of(data.getbuffer()[:SIGNATURE_BYTES].tobytes()) is None:
            break
    if data.tell() > MOST_STREAM_BYTES:
        raise ImageError(STDIN, f"has more than {MOST_STREAM_BYTES:,} bytes, which are read from files alone")
    return data.getvalue()


def _expand(paths: Iterable[str]) -> Iterator[str | ImageError]:
    """Yield the images of folders and patterns, or the name itself, which need not exist."""
    for path in paths:
        if path == STDIN:
            yield path
        elif _is_folder(path):
            yield from _in_folder(path)
        elif not os.path.lexists(path) and glob.has_magic(path):
            yield from _matches(path)
        else:
            yield path


def _is_folder(path: str) -> bool:
    """Whether a folder is there; `Path.is_dir` raises where a name is too long, or a folder above it closed."""
    return os.path.isdir(path)  # noqa: PTH112


def _in_folder(path: str) -> Iterator[str | ImageError]:
    images, issues = images_below(Path(path))
    yield from map(str, images)
    for issue in issues:
        yield ImageError(issue.paths[0], Message(issue.code, str(issue.facts["reason"])))
    if not images and not issues:
        yield ImageError(path, Message("image-none-in-folder", "no images in this folder"))


def _matches(pattern: str) -> Iterator[str | ImageError]:
    """Yield the matches of a pattern: files, and the images of folders unless `**` matches their content anyway."""
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute and relative patterns alike
    folders = {match for match in matches if _is_folder(match)}
    if "**" in Path(pattern).parts:
        matches, folders = [match for match in matches if match not in folders], set()
    for match in matches:
        yield from _in_folder(match) if match in folders else [match]
    if not matches:
        yield ImageError(pattern, "matches no file")
