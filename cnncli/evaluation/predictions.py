"""`predictions.csv` of a run: the prediction of every evaluated image."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.records import LABEL_SEPARATOR, ImageRecord
from cnncli.errors import reason_of
from cnncli.runs.documents import damaged
from cnncli.storage.atomic import write_atomically
from cnncli.storage.safe_io import read_bytes
from cnncli.storage.tables import columns_of_classes

OTHER_DATA = "data"
"""In place of a split, for images of another folder or table (`evaluate --data`)."""
MOST_BYTES = 8 * 2**30
"""Maximum size of predictions.csv, about thirty million images."""
UNKNOWN = {"": None, "true": True, "false": False}


@dataclass(frozen=True)
class PredictedImage:
    """An evaluated image.

    Attributes:
        path: Absolute path of the file.
        split: train, validation, test, or `OTHER_DATA`.
        labels: Its classes: one, or any number if multi-label.
        predictions: The predicted classes.
        confidence: Probability of the predicted class; if multi-label, of the least certain decision.
        unknown: Whether `predict` answers `unknown` for the image; None if the run always answers.
        probabilities: If multi-label, the probability of each class, in the order of the run's classes; else empty.
    """

    path: str
    split: str
    labels: tuple[str, ...]
    predictions: tuple[str, ...]
    confidence: float
    unknown: bool | None = None
    probabilities: tuple[float, ...] = ()

    @property
    def is_correct(self) -> bool:
        """Whether the prediction is right; if multi-label, for all labels."""
        return set(self.labels) == set(self.predictions)


def predicted_images(
    images: Sequence[ImageRecord],
    split: str,
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
    thresholds: Sequence[float],
    confidences: NDArray[np.float64],
    unknown: NDArray[np.bool_] | None = None,
) -> tuple[PredictedImage, ...]:
    """Return the predictions of images.

    Args:
        images: The images.
        split: Their split, or `OTHER_DATA`.
        probabilities: (n, classes), in the order of `classes`.
        classes: Names of the classes.
        thresholds: Probability from which on each class is predicted, if an image can have several; else empty.
        confidences: (n,), see `PredictedImage`.
        unknown: Which images (n,) are answered with `unknown`; None if the run always answers.
    """
    if thresholds:
        are_predicted = probabilities >= np.asarray(thresholds)
        predictions = [tuple(name for name, is_in in zip(classes, row, strict=True) if is_in) for row in are_predicted]
    else:
        predictions = [(classes[place],) for place in probabilities.argmax(axis=1).tolist()]
    are_unknown = [None] * len(images) if unknown is None else unknown.tolist()
    of_classes: list[tuple[float, ...]] = [()] * len(images)
    if thresholds:
        of_classes = [tuple(row) for row in probabilities.tolist()]
    rows = zip(images, predictions, confidences.tolist(), are_unknown, of_classes, strict=True)
    return tuple(PredictedImage(image.file, split, image.labels, *row) for image, *row in rows)


def mistakes(images: Iterable[PredictedImage]) -> list[PredictedImage]:
    """Return the images that are predicted wrongly, the most confident mistakes first."""
    return sorted((one for one in images if not one.is_correct), key=lambda one: -one.confidence)


def columns(is_multi_label: bool, classes: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the columns of predictions.csv; if multi-label, one per class for its probability comes last."""
    names = ("labels", "predictions") if is_multi_label else ("label", "prediction")
    facts = ("path", "split", *names, "confidence", "unknown")
    return (*facts, *columns_of_classes(classes, facts)) if is_multi_label else facts


def write_predictions(
    path: Path, images: Sequence[PredictedImage], classes: Sequence[str], is_multi_label: bool
) -> None:
    """Write predictions.csv; the predictions that it has of other splits are kept.

    Raises:
        OSError: The file cannot be written.
        RunError: The existing file is damaged, or has the probabilities of other classes.
    """
    replaced = {one.split for one in images}
    kept = [one for one in read_predictions(path, classes) if one.split not in replaced] if path.is_file() else []
    text = io.StringIO(newline="")
    # All text is quoted: with minimal quoting, a carriage return in a name would end the line.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(columns(is_multi_label, classes))
    # Runs from before probabilities were written do not have those of other splits.
    unwritten = ("",) * (len(classes) if is_multi_label else 0)
    unknown = {value: name for name, value in UNKNOWN.items()}
    for one in (*kept, *images):
        names = (LABEL_SEPARATOR.join(one.labels), LABEL_SEPARATOR.join(one.predictions))
        probabilities = [round(p, 6) for p in one.probabilities] or unwritten
        cells = (one.path, one.split, *names, round(one.confidence, 6), unknown[one.unknown])
        writer.writerow((*cells, *probabilities))
    write_atomically(path, text.getvalue())


def read_predictions(path: Path, classes: Sequence[str] | None = None) -> tuple[PredictedImage, ...]:
    """Read predictions.csv.

    Args:
        path: The file.
        classes: The run's classes, of which it must have the probabilities, if any; None to accept all classes.

    Raises:
        RunError: The file is damaged, or has the probabilities of other classes.
    """
    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8", sys.getfilesystemencodeerrors())
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = tuple(next(lines, ()))
        n_facts = len(columns(True))
        is_multi_label = header[:n_facts] == columns(True)
        if not is_multi_label and header != columns(False):
            raise ValueError(f"expected the columns {', '.join(columns(False))}")
        if classes is not None and header[n_facts:] not in ((), columns(True, classes)[n_facts:]):
            raise ValueError("has the columns of other classes")
        return tuple(_image(line, len(header), is_multi_label) for line in lines)
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise damaged(path, reason_of(error)) from None


def _image(line: Sequence[str], n_columns: int, is_multi_label: bool) -> PredictedImage:
    if len(line) != n_columns:
        raise ValueError(f"a row has {len(line):,} cells, expected {n_columns:,}")
    n_facts = len(columns(is_multi_label))
    (path, split, *names, confidence, unknown), of_classes = line[:n_facts], line[n_facts:]
    if any(of_classes) and not all(of_classes):
        raise ValueError("a row has the probabilities of some classes only")
    labels, predictions = (
        tuple(filter(None, name.split(LABEL_SEPARATOR))) if is_multi_label else (name,) for name in names
    )
    probabilities = tuple(map(float, filter(None, of_classes)))
    return PredictedImage(path, split, labels, predictions, float(confidence), UNKNOWN[unknown], probabilities)
