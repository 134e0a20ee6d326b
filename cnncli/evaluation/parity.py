"""Parity: a saved classifier, loaded somewhere else, gives the results that were reported."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import Message, ParityError, printable
from cnncli.metrics.classification import Metrics
from cnncli.metrics.reliability import measure_reliability
from cnncli.terminal.formatting import decimal, percent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tolerance:
    """Largest accepted differences.

    Attributes:
        largest: Of a probability of any image (0-1).
        mean: Of the probabilities on average (0-1).
        log_loss: Of the log loss, in nats.
        logits: Of the logits, as a fraction of their variation (root mean squares), which excuses larger differences of
            probabilities: if features hardly differ between images, a head magnifies the rounding of low precision.
            0 excuses nothing.
    """

    largest: float
    mean: float
    log_loss: float
    logits: float


SAME = Tolerance(1e-4, 1e-5, 1e-3, 0.0)
"""For the same graphs in another process."""
TOLERANCES: Mapping[str, Tolerance] = {
    "float32": Tolerance(5e-3, 5e-4, 5e-3, 0.0),
    "float16": Tolerance(0.05, 5e-3, 0.02, 0.0),
    "bfloat16": Tolerance(0.4, 0.04, 0.1, 0.15),
    "int8": Tolerance(0.6, 0.08, 0.2, 0.2),
}
"""For another implementation, which computes in float32, by the precision of the run. Some images lie between classes,
so that low precision moves their probabilities far, but never those of most images; one such image among sixteen must
not fail a run."""
TINY = float(np.finfo(np.float32).tiny)
"""Smallest probability that is compared: Keras's softmax gives 0 below it."""


@dataclass(frozen=True)
class Reported:
    """Probabilities that a run reported for images.

    Attributes:
        paths: Path of each image.
        labels: (n,) class indices, or (n, classes) with 0 and 1, if multi-label.
        classes: Names of the classes.
        probabilities: (n, classes).
    """

    paths: tuple[str, ...]
    labels: NDArray[Any]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]

    def at(self, places: Sequence[int] | NDArray[np.int64]) -> Reported:
        """Return what was reported for some of the images."""
        kept = np.asarray(places, np.int64)
        paths = tuple(self.paths[place] for place in kept)
        return Reported(paths, self.labels[kept], self.classes, self.probabilities[kept])


@dataclass(frozen=True)
class ProbabilityAgreement:
    """Differences between what a run reported and what was found somewhere else.

    Attributes:
        where: What computed the results again: `engine`, `predict`, `keras`, or the name of an export.
        n: Number of images.
        tolerance: Accepted differences.
        largest, mean: Largest and mean difference of a probability (0-1).
        worst: The image with the largest difference.
        n_changed: Number of images with a different prediction.
        accuracy, log_loss: As found.
        log_loss_difference: Found minus reported.
        logits: Root mean square of the differences of the logits, divided by that of the reported ones.
    """

    where: str
    n: int
    tolerance: Tolerance
    largest: float
    mean: float
    worst: str
    n_changed: int
    accuracy: float
    log_loss: float
    log_loss_difference: float
    logits: float

    @property
    def is_close(self) -> bool:
        """Whether the probabilities agree. NaN never does."""
        limits = self.tolerance
        return (
            self.largest <= limits.largest
            and self.mean <= limits.mean
            and abs(self.log_loss_difference) <= limits.log_loss
        )

    @property
    def holds(self) -> bool:
        """Whether the differences are accepted: the probabilities agree, or at least the logits."""
        return self.is_close or self.logits <= self.tolerance.logits

    @property
    def problem(self) -> Message:
        """The differences in words."""
        hint = " If low precision is the reason, train with precision=float32." if self.tolerance.logits else ""
        text = (
            f"{self.where}: the saved classifier does not give the reported probabilities: they differ by up to "
            f"{decimal(self.largest)} ({printable(self.worst)}), on average by {decimal(self.mean)}, and the log loss "
            f"by {decimal(abs(self.log_loss_difference))}; accepted are {decimal(self.tolerance.largest)}, "
            f"{decimal(self.tolerance.mean)} and {decimal(self.tolerance.log_loss)}. {self.n_changed:,} of {self.n:,} "
            f"predictions changed.{hint}"
        )
        facts = {"where": self.where, "path": self.worst, "received": self.largest, "expected": self.tolerance.largest}
        return Message("metrics-not-reproduced", text, **facts)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts for JSON."""
        names = ("n", "largest", "mean", "n_changed", "accuracy", "log_loss", "logits")
        return {**{name: getattr(self, name) for name in names}, "tolerance": vars(self.tolerance), "holds": self.holds}


def compare(where: str, reported: Reported, found: NDArray[np.float64], tolerance: Tolerance) -> ProbabilityAgreement:
    """Compare probabilities (n, classes), in the order of the reported classes, with those that a run reported."""
    differences = np.abs(found - reported.probabilities)
    per_image = differences.max(axis=1)
    worst = int(np.argmax(np.nan_to_num(per_image, nan=np.inf)))
    is_multi_label = reported.labels.ndim == 2
    changed = (
        (found > 0.5) != (reported.probabilities > 0.5)
        if is_multi_label
        else _best(found) != _best(reported.probabilities)
    )
    right = ((found > 0.5) == (reported.labels > 0)).all(axis=1) if is_multi_label else _best(found) == reported.labels
    pair = [np.clip(one, TINY, 1.0) for one in (reported.probabilities, np.nan_to_num(found))]
    before, after = (measure_reliability(one, reported.labels) for one in pair)
    return ProbabilityAgreement(
        where=where,
        n=len(found),
        tolerance=tolerance,
        largest=float(per_image[worst]),
        mean=float(differences.mean()),
        worst=reported.paths[worst],
        n_changed=int(changed.reshape(len(found), -1).any(axis=1).sum()),
        accuracy=float(right.mean()),
        log_loss=after.log_loss,
        log_loss_difference=after.log_loss - before.log_loss,
        logits=_relative_error(reported.probabilities, found, is_multi_label),
    )


def _relative_error(expected: NDArray[np.float64], found: NDArray[np.float64], is_multi_label: bool) -> float:
    """Return the root mean square of the differences of logits, divided by that of the expected ones."""
    logits = [logits_of_scores(one, "sigmoid" if is_multi_label else "softmax") for one in (expected, found)]
    if not is_multi_label:
        logits = [one - one.mean(axis=1, keepdims=True) for one in logits]
    size = float(np.square(logits[0]).mean())
    return math.sqrt(float(np.square(logits[1] - logits[0]).mean()) / size) if size else math.inf


def _best(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.asarray(probabilities.argmax(axis=1))


def spread(n_images: int, n: int) -> NDArray[np.int64]:
    """Return the places of at most n images at equal distances."""
    return np.unique(np.linspace(0, n_images - 1, min(n, n_images)).round().astype(np.int64))


def in_reported_order(
    found: NDArray[np.float64], classes: Sequence[str], reported: Reported, where: str
) -> NDArray[np.float64]:
    """Return probabilities with the columns of named classes in the order of the reported ones.

    Raises:
        ParityError: The names are others.
    """
    if sorted(classes) != sorted(reported.classes):
        text = f"{where}: the saved classifier has other classes: {', '.join(map(printable, list(classes)[:10]))}."
        raise ParityError(Message("metrics-not-reproduced", text, where=where, received=tuple(classes)))
    return np.asarray(found[:, [list(classes).index(name) for name in reported.classes]])


def compare_training(validated: Mapping[str, float], metrics: Metrics, precision: str) -> Message | None:
    """Return the problem if the saved classifier does not reach the validation metrics of training, or None.

    Args:
        validated: Validation metrics of the kept epoch, as training measured them with the weights in memory.
        metrics: Those of the saved classifier.
        precision: Lowest precision of training and of the saved classifier.
    """
    tolerance = TOLERANCES[precision]
    checks = {"loss": (metrics.loss, tolerance.log_loss * max(1.0, abs(validated.get("loss", 0.0))))}
    if not metrics.is_multi_label:  # in training, each label has the threshold 0.5
        checks["accuracy"] = (metrics.top1, tolerance.mean + 1.5 / metrics.n)
    for name, (value, accepted) in checks.items():
        before = validated.get(name)
        if before is not None and not abs(value - before) <= accepted:
            shown = [percent(one) if name == "accuracy" else decimal(one) for one in (value, before)]
            text = f"training: the saved classifier has a validation {name} of {shown[0]}, but {shown[1]} in training."
            facts = {"where": "training", "key": name, "received": value, "expected": before}
            return Message("metrics-not-reproduced", text, **facts)
    return None


def require_parity(found: Sequence[ProbabilityAgreement], problems: Sequence[Message] = ()) -> None:
    """Raise ParityError, with all problems, unless everything agrees; warn of probabilities that only nearly do."""
    wrong = [*problems, *(one.problem for one in found if not one.holds)]
    if wrong:
        raise ParityError(wrong)
    for one in found:
        if not one.is_close:
            text = (
                f"{one.where}: {one.n_changed:,} of {one.n:,} predictions change in float32: for the frozen layers, "
                f"the images differ so little that rounding shows. With precision=float32, all ways to predict agree."
            )
            log.warning(Message("metrics-precision-shows", text, where=one.where, n=one.n_changed))


def held(precision: str) -> str:
    """Return what of an export has to agree with its run: probabilities or, in int8, only the accuracy."""
    return "accuracy only" if precision == "int8" else "probabilities"


def lowest(precisions: Sequence[str]) -> str:
    """Return the lowest of some precisions.

    >>> lowest(["float32", "int8", "bfloat16"])
    'int8'
    """
    return max(precisions, key=list(TOLERANCES).index)


def logits_of_scores(scores: NDArray[np.float64], activation: str) -> NDArray[np.float64]:
    """Return logits (n, units) of the scores (n, units) that `model.keras` returns."""
    if activation == "linear":
        return scores
    logarithms = np.log(np.maximum(scores, TINY))
    return np.asarray(logarithms - np.log(np.maximum(1 - scores, TINY)) if activation == "sigmoid" else logarithms)
