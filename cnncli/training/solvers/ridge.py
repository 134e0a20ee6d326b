"""Ridge regression in closed form, with the strength chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BISECTIONS = 50
MAX_SHARPNESS = 1e3


class Moments(NamedTuple):
    """Weighted means and second moments of some rows: all that ridge regression needs of them.

    Attributes:
        weight: Sum of the weights.
        x, y: Sums of the rows (r,) and of their targets (units,).
        xx, xy: Sums of the products of rows with rows (r, r), and with targets (r, units).
    """

    weight: float
    x: Array
    y: Array
    xx: Array
    xy: Array

    @classmethod
    def of(cls, rows: Array, targets: Array, weights: Array) -> Moments:
        """Return the moments of rows (n, r) with targets (n, units) and weights (n, 1)."""
        weighted = rows * weights
        y = (targets * weights).sum(axis=0)
        return cls(float(weights.sum()), weighted.sum(axis=0), y, rows.T @ weighted, weighted.T @ targets)

    def without(self, other: Moments) -> Moments:
        """Return the moments of the rows that are not in `other`."""
        sums = (self.x - other.x, self.y - other.y, self.xx - other.xx, self.xy - other.xy)
        return Moments(self.weight - other.weight, *sums)

    def solve(self, l2: float, n: float) -> tuple[Array, Array]:
        """Return the kernel (r, units) and the bias (units,) with the least squared error.

        The objective is the sum of weight · ½‖error‖² divided by n, plus l2 · Σw².
        """
        mean = self.x / self.weight
        xx = self.xx - np.outer(mean, self.x)
        xx[np.diag_indices_from(xx)] += 2 * l2 * n
        kernel = np.linalg.solve(xx, self.xy - np.outer(mean, self.y))
        return kernel, self.y / self.weight - mean @ kernel


def cross_validate(
    rows: Array, targets: Array, weights: Array, folds: NDArray[np.int64], strengths: Sequence[float]
) -> list[Array]:
    """Return, for each strength, the scores (n, units) of each row by the solution of the other folds."""
    everything = Moments.of(rows, targets, weights)
    found = [np.empty(targets.shape) for _ in strengths]
    for fold in np.unique(folds):
        held_out = folds == fold
        others = everything.without(Moments.of(rows[held_out], targets[held_out], weights[held_out]))
        for l2, scores in zip(strengths, found, strict=True):
            kernel, bias = others.solve(l2, float((~held_out).sum()))
            scores[held_out] = rows[held_out] @ kernel + bias
    return found


def fit_sharpness(scores: Array, targets: Array, *, is_softmax: bool) -> float:
    """Return the factor that turns least-squares scores (n, units) into the logits with the lowest cross-entropy.

    The scores should be those of rows that were held out. This is temperature scaling (Guo et al. 2017) by bisection
    on the derivative, which rises with the factor.
    """

    def derivative(factor: float) -> float:
        logits = factor * scores
        if is_softmax:
            probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
            probabilities /= probabilities.sum(axis=1, keepdims=True)
        else:
            probabilities = 0.5 * (1 + np.tanh(logits / 2))
        return float(((probabilities - targets) * scores).sum())

    low, high = 0.0, MAX_SHARPNESS
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if derivative(middle) < 0 else (low, middle)
    return high
