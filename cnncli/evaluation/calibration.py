"""Calibration of a run's confidences, and the doubt at which it answers `unknown`: `engine/calibration.json`.

Everything is fitted on the validation images. A temperature turns the scores into honest confidences. The doubt about
an image is the larger of two: how far its features are from those of the training images, and how uncertain its scores
are. Above a threshold that a stated fraction of the validation images stays below, the answer is `unknown`. The file
can come from an untrusted source, so its values are checked before use.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cnncli.metrics.classification import ranking_scores
from cnncli.metrics.curves import Ranking
from cnncli.metrics.losses import targets_of
from cnncli.runs.documents import damaged, read_document
from cnncli.storage.atomic import write_atomically

FILE = "calibration.json"
FORMAT = 1
TEMPERATURES = (0.05, 20.0)
"""Smallest and largest temperature. If images do not determine it, because all of them are right, it is 1."""
MOST_ROWS = 5_000
"""Maximum number of images from which a temperature is fitted."""
STEPS = 50
"""Number of halvings of the interval in which a temperature lies."""
SIGNIFICANT = 1.92
"""Smallest gain in log-likelihood for which a temperature differs from 1: half the 95 % quantile of chi-squared."""
QUANTILES = 1_001
"""Number of quantiles of the doubt about validation images, from which thresholds for any coverage follow."""
NEVER = 1.01
"""Threshold that no confidence reaches, for a class that never has the wanted precision."""
UNLIKE, UNCERTAIN, TOO_LOW = "unlike the training images", "uncertain", "below the minimum confidence"
"""Why an image is `unknown`: its distance or its uncertainty is above the threshold, or its class has a minimum."""

Doubts = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of a quantity over the validation images."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Self:
        """Return the scale of values (n,)."""
        return cls(float(values.mean()), max(float(values.std()), 1e-9))

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values in standard deviations above the mean."""
        return np.asarray((values - self.mean) / self.deviation)


@dataclass(frozen=True)
class Calibration:
    """Temperature, doubt and thresholds of a run, fitted on its validation images.

    Attributes:
        temperature: Number by which logits are divided before they become confidences.
        coverage: Fraction of the validation images that are answered; the others are the most doubtful ones. None:
            all images are answered.
        distance: Scale of the distance to the training images; None if the run has no frozen network.
        uncertainty: Scale of the uncertainty of the scores; None if an image can have several labels.
        doubts: Quantiles of the doubt about the validation images, rising, at equal distances from 0 to 1; none if
            nothing measures it: an image can have several labels, and the run has no frozen network.
        min_confidences: Confidence from which on each class is an answer, in the order of the classes; empty for none.
    """

    temperature: float
    coverage: float | None
    distance: Scale | None
    uncertainty: Scale | None
    doubts: tuple[float, ...]
    min_confidences: tuple[float, ...] = ()

    @classmethod
    def fit(
        cls,
        logits: NDArray[Any],
        labels: NDArray[Any],
        activation: str,
        distances: NDArray[np.float64] | None,
        coverage: float | None,
    ) -> Self:
        """Fit a calibration to validation images.

        Args:
            logits: (n, units).
            labels: (n,) class indices, or (n, classes) with 0 and 1, if multi-label.
            activation: Activation of the head.
            distances: (n,), see `FeatureReference`; None if the run has no frozen network.
            coverage: Fraction of the images to answer, above 0 and at most 1; None for all.
        """
        temperature = fit_temperature(logits, labels, activation)
        distance = None if distances is None else Scale.of(distances)
        uncertainty = None if labels.ndim == 2 else Scale.of(uncertainty_of(logits, activation))
        found = cls(temperature, coverage, distance, uncertainty, ())
        doubts = found.doubt(logits, activation, distances)
        quantiles = () if doubts is None else np.quantile(doubts, np.linspace(0, 1, QUANTILES)).tolist()
        return replace(found, doubts=tuple(quantiles))

    @property
    def abstains(self) -> bool:
        """Whether some images are answered with `unknown`."""
        return bool(self.min_confidences) or (self.coverage is not None and bool(self.doubts))

    def doubt(self, logits: NDArray[Any], activation: str, distances: NDArray[np.float64] | None) -> Doubts | None:
        """Return the doubt (n,) about images, or None if nothing measures it.

        Args:
            logits: (n, units).
            activation: Activation of the head.
            distances: (n,) to the training images; None if the run has no frozen network.
        """
        return largest(self.doubts_by_reason(logits, activation, distances))

    def reasons(self, parts: Mapping[str, Doubts], unknown: NDArray[np.bool_]) -> list[str | None]:
        """Return why images are `unknown`, None for the others, from the parts of the doubt about them."""
        threshold = self.threshold()
        reasons: list[str | None] = []
        for place, is_unknown in enumerate(unknown):
            doubts = {reason: values[place] for reason, values in parts.items() if values[place] > threshold}
            reason = max(doubts, key=lambda reason: doubts[reason], default=TOO_LOW)
            reasons.append(reason if is_unknown else None)
        return reasons

    def doubts_by_reason(
        self, logits: NDArray[Any], activation: str, distances: NDArray[np.float64] | None
    ) -> dict[str, Doubts]:
        """Return the parts of the doubt (n,) by the reason that they give; for the arguments, see `doubt`."""
        parts = {}
        if self.distance is not None and distances is not None:
            parts[UNLIKE] = self.distance.apply(distances)
        if self.uncertainty is not None:
            parts[UNCERTAIN] = self.uncertainty.apply(uncertainty_of(logits, activation))
        return parts

    def threshold(self, coverage: float | None = None) -> float:
        """Return the doubt up to which images are answered, for a fraction of the validation images (0-1)."""
        coverage = self.coverage if coverage is None else coverage
        if coverage is None or coverage >= 1 or not self.doubts:
            return math.inf
        return float(np.interp(coverage, np.linspace(0, 1, len(self.doubts)), self.doubts))

    def are_unknown(
        self, doubts: Doubts | None, probabilities: NDArray[np.float64], coverage: float | None = None
    ) -> NDArray[np.bool_]:
        """Return which images (n,) are answered with `unknown`.

        Args:
            doubts: (n,), see `doubt`; None if nothing measures it.
            probabilities: (n, classes), at the temperature.
            coverage: Fraction of the validation images to answer; default: that of the calibration.
        """
        unknown = np.zeros(len(probabilities), bool) if doubts is None else doubts > self.threshold(coverage)
        if self.min_confidences:
            unknown |= probabilities.max(axis=1) < np.array(self.min_confidences)[probabilities.argmax(axis=1)]
        return np.asarray(unknown)

    def save(self, folder: Path) -> None:
        """Write the calibration to its file in a run's engine folder."""
        write_atomically(folder / FILE, json.dumps({"format": FORMAT, **asdict(self)}) + "\n")

    @classmethod
    def load(cls, folder: Path, n_classes: int) -> Self | None:
        """Read the calibration of a run's engine folder, or return None if it has none.

        Raises:
            RunError: The file is damaged or from a newer version of cnncli.
        """
        if not (folder / FILE).is_file():
            return None
        facts = read_document(folder / FILE, FORMAT)
        try:
            return cls(
                temperature=_number(facts["temperature"], *TEMPERATURES),
                coverage=None if facts["coverage"] is None else _number(facts["coverage"], 0, 1),
                distance=_scale(facts["distance"]),
                uncertainty=_scale(facts["uncertainty"]),
                doubts=_rising(facts["doubts"]),
                min_confidences=_confidences(facts["min_confidences"], n_classes),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(folder / FILE, f"{type(error).__name__}: {error}"[:200]) from None


def _number(value: Any, low: float = -1e30, high: float = 1e30) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"received {str(value)[:40]}, expected a number from {low:g} to {high:g}")
    return float(value)


def _scale(value: Any) -> Scale | None:
    return None if value is None else Scale(_number(value["mean"]), _number(value["deviation"], low=1e-12))


def _rising(values: Any) -> tuple[float, ...]:
    numbers = tuple(map(_number, values))
    if len(numbers) == 1 or list(numbers) != sorted(numbers):
        raise ValueError("the quantiles of the doubt do not rise")
    return numbers


def _confidences(values: Any, n_classes: int) -> tuple[float, ...]:
    numbers = tuple(_number(value, 0, NEVER) for value in values)
    if len(numbers) not in (0, n_classes):
        raise ValueError(f"{len(numbers)} confidences for {n_classes} classes")
    return numbers


def largest(parts: Mapping[str, Doubts]) -> Doubts | None:
    """Return the doubt (n,), the largest of its parts; None if there are none."""
    return np.asarray(np.max(list(parts.values()), axis=0)) if parts else None


def uncertainty_of(logits: NDArray[Any], activation: str) -> NDArray[np.float64]:
    """Return the negative lead (n,) of the best class over the next one in logits (n, units).

    For two classes, it orders images as their confidences do, which saturate at 1.
    """
    best = np.partition(ranking_scores(logits, activation), -2, axis=1)[:, -2:]
    return np.asarray(best[:, 0] - best[:, 1])


def fit_temperature(logits: NDArray[Any], labels: NDArray[Any], activation: str) -> float:
    """Return the temperature T for which logits / T have the lowest cross-entropy, or 1 if few images decide it.

    C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv 1706.04599. The loss is convex in 1 / T,
    and the root of its derivative is found by halving an interval. A temperature that is not significantly better than
    1 (likelihood-ratio test at 95 %) only follows the noise of the validation images, and is 1. Several labels of an
    image count as independent, which makes the test easier to pass.

    Args:
        logits: (n, units), any float dtype.
        labels: (n,) class indices, or (n, classes) with 0 and 1, if multi-label.
        activation: Activation of the head.
    """
    kept = np.unique(np.linspace(0, len(logits) - 1, min(MOST_ROWS, len(logits))).round().astype(int))
    z, labels = logits[kept].astype(np.float64), labels[kept]
    is_sigmoid, targets = activation == "sigmoid", targets_of(labels, z.shape[1])

    def loss(sharpness: float) -> float:
        """Return the sum of the losses at 1 / T."""
        scaled = sharpness * z
        if is_sigmoid:
            return float((np.logaddexp(0.0, scaled) - targets * scaled).sum())
        return float((np.logaddexp.reduce(scaled, axis=1) - (targets * scaled).sum(axis=1)).sum())

    def slope(sharpness: float) -> float:
        """Return the derivative of `loss` by 1 / T."""
        scaled = sharpness * z
        if is_sigmoid:
            probabilities = np.exp(-np.logaddexp(0.0, -scaled))
        else:
            probabilities = np.exp(scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True))
        return float(((probabilities - targets) * z).sum())

    low, high = (1 / one for one in reversed(TEMPERATURES))
    if slope(high) <= 0:
        return 1.0
    if slope(low) >= 0:  # the scores say nothing about the labels
        high = low
    for _ in range(STEPS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    best = math.sqrt(low * high)
    return 1 / best if loss(1.0) - loss(best) > SIGNIFICANT else 1.0


def min_confidences_for(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], precision: float
) -> tuple[float, ...]:
    """Return for each class the lowest confidence from which on its predictions have a wanted precision.

    Args:
        probabilities: (n, classes) of validation images, at the temperature.
        labels: (n,) class indices.
        precision: Wanted fraction of right predictions, 0-1.

    Returns:
        The confidences. A class that never reaches the precision has `NEVER`, one that always has it 0.
    """
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    found = []
    for place in range(probabilities.shape[1]):
        of_class = predicted == place
        scores, right = confidence[of_class], labels[of_class] == place
        is_enough = not len(right) or right.mean() >= precision
        found.append(0.0 if is_enough else _lowest_cut(scores, right, precision, NEVER))
    return tuple(found)


def thresholds_for(
    probabilities: NDArray[np.float64], labels: NDArray[np.uint8], precision: float
) -> tuple[float, ...]:
    """Return for each of several labels the lowest threshold with a wanted precision; 1 if there is none.

    Args:
        probabilities: (n, labels) of validation images.
        labels: (n, labels) with 0 and 1.
        precision: Wanted fraction of right predictions, 0-1.
    """
    columns = zip(probabilities.T, labels.T > 0, strict=True)
    return tuple(_lowest_cut(scores, positive, precision, 1.0) for scores, positive in columns)


def _lowest_cut(scores: NDArray[np.float64], right: NDArray[np.bool_], precision: float, otherwise: float) -> float:
    """Return the lowest score from which on the wanted fraction of predictions is right, or `otherwise`."""
    ranking = Ranking.of(scores, right)
    enough = np.flatnonzero(ranking.precision >= precision)
    return float(ranking.cuts[enough[-1]]) if len(enough) else otherwise


def min_confidences_of_costs(costs: Mapping[str, float], classes: Sequence[str]) -> tuple[float, ...]:
    """Return for each class the confidence from which on an answer costs less, on average, than `unknown`.

    `costs` has the cost of predicting a class wrongly, in units of the cost of answering `unknown`. C. K. Chow, On
    optimum recognition error and reject tradeoff, IEEE Trans. Inf. Theory 16 (1970) 41.

    >>> min_confidences_of_costs({"mushroom": 100, "toadstool": 2}, ("mushroom", "toadstool", "stone"))
    (0.99, 0.5, 0.0)
    """
    return tuple(max(0.0, 1 - 1 / costs[name]) if name in costs else 0.0 for name in classes)


@dataclass(frozen=True)
class CoveragePoint:
    """The least doubtful images: their fraction of all images, and the accuracy of their predictions."""

    coverage: float
    accuracy: float


def coverage_curve(doubts: Doubts, right: NDArray[np.bool_], n_points: int = 100) -> tuple[CoveragePoint, ...]:
    """Return the accuracy over the coverage if the most doubtful images are left unanswered.

    Args:
        doubts: (n,) about at least one image.
        right: (n,) whether each prediction is right.
        n_points: Maximum number of points.
    """
    ordered = right[np.argsort(doubts, kind="stable")]
    counts = np.unique(np.linspace(1, len(ordered), min(n_points, len(ordered))).round().astype(int))
    accuracies = np.cumsum(ordered)[counts - 1] / counts
    pairs = zip((counts / len(ordered)).tolist(), accuracies.tolist(), strict=True)
    return tuple(CoveragePoint(*pair) for pair in pairs)
