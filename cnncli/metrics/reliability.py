"""Reliability of probabilities: log loss, Brier score, calibration error, reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Number of bins of equal width in a reliability diagram, as by Guo et al."""


@dataclass(frozen=True)
class ReliabilityBin:
    """The predictions whose confidence is between two bounds; all values but `n` are in 0-1.

    Attributes:
        low, high: Bounds; the lower one belongs to the bin below.
        confidence: Mean confidence of the predictions; 0 if there are none.
        accuracy: Fraction of the predictions that are right; 0 if there are none.
        n: Number of predictions.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class Reliability:
    """Scores of probabilities.

    Attributes:
        log_loss: Mean negative logarithm of the probability of the truth, in nats; if multi-label, averaged over the
            labels.
        brier_score: Mean squared error of the probabilities: of the second of two classes, or summed over more classes,
            or averaged over the labels. These are scikit-learn's conventions.
        calibration_error: Mean distance of accuracy and confidence over the bins, weighted by the number of predictions
            (expected calibration error, ECE).
        bins: The reliability diagram.
    """

    log_loss: float
    brier_score: float
    calibration_error: float
    bins: tuple[ReliabilityBin, ...]


def measure_reliability(probabilities: NDArray[np.float64], labels: NDArray[Any]) -> Reliability:
    """Return the scores of probabilities (n, classes) for class indices (n,), or labels of 0 and 1 (n, classes).

    C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv 1706.04599. The confidence of a prediction
    is the largest probability; if multi-label, each probability is the confidence that its label is present. Otherwise,
    probabilities that do not add up to 1, such as those of several sigmoids, are divided by their sum.
    """
    tiny = np.finfo(np.float64).tiny
    if labels.ndim == 2:
        right = labels > 0
        of_truth = np.where(right, probabilities, 1 - probabilities)
        losses, squares = -np.log(np.maximum(of_truth, tiny)), np.square(1 - of_truth)
        return _reliability(losses, squares, probabilities.ravel(), right.ravel())
    probabilities = probabilities / np.maximum(probabilities.sum(axis=1, keepdims=True), tiny)
    n, n_classes = probabilities.shape
    of_truth = probabilities[np.arange(n), labels]
    errors = probabilities - (labels[:, None] == np.arange(n_classes))
    squares = np.square(errors[:, 1:] if n_classes == 2 else errors).sum(axis=1)
    losses, best = -np.log(np.maximum(of_truth, tiny)), probabilities.argmax(axis=1)
    return _reliability(losses, squares, probabilities.max(axis=1), best == labels)


def _reliability(
    losses: NDArray[np.float64],
    squares: NDArray[np.float64],
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
) -> Reliability:
    bins = reliability_bins(confidence, right)
    return Reliability(float(losses.mean()), float(squares.mean()), calibration_error(bins), bins)


def reliability_bins(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], n_bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Sort predictions with confidences (n,) in 0-1, some of which are right (n,), into bins of equal width.

    >>> [one.n for one in reliability_bins(np.array([0.5, 0.51, 1.0]), np.array([True, False, True]), 2)]
    [1, 2]
    """
    places = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    counts = np.bincount(places, minlength=n_bins)
    sums = [np.bincount(places, weights=values, minlength=n_bins) for values in (confidence, right)]
    means = [(values / np.maximum(counts, 1)).tolist() for values in sums]
    rows = zip(*means, counts.tolist(), strict=True)
    return tuple(ReliabilityBin(k / n_bins, (k + 1) / n_bins, *row) for k, row in enumerate(rows))


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Return the expected calibration error of a reliability diagram with at least one prediction."""
    return sum(one.n * abs(one.accuracy - one.confidence) for one in bins) / sum(one.n for one in bins)
