"""Convex losses of the rows of many problems at once, with their slopes.

Each function takes scores (n, P, units) of P problems, targets (n, units) in 0-1 and weights (n, 1) of the rows, and
returns the losses (n, P) and their derivatives with respect to the scores, (n, P, units).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
RowLoss = Callable[[Array, Array, Array], tuple[Array, Array]]

HINGE_WIDTH = 1e-2
"""Width in which the corner of the hinge is rounded, which changes the loss of a pair of classes by at most half."""


def softmax_loss(scores: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
    """Return the categorical cross-entropy in nats."""
    shifted = scores - scores.max(axis=2, keepdims=True)
    slopes = np.exp(shifted)
    total = slopes.sum(axis=2, keepdims=True)
    losses = np.log(total[:, :, 0]) - np.einsum("npk,nk->np", shifted, targets)
    slopes = (slopes / total - targets[:, None]) * weights[:, None]
    return losses * weights, slopes


def sigmoid_loss(scores: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
    """Return the binary cross-entropy in nats, averaged over the units; each unit can have its weight (n, units)."""
    exponential = np.exp(-np.abs(scores))
    losses = np.maximum(scores, 0) + np.log1p(exponential) - scores * targets[:, None]
    slopes = np.where(scores >= 0, 1, exponential) / (1 + exponential) - targets[:, None]
    return (losses * weights[:, None]).mean(axis=2), slopes * (weights[:, None] / scores.dtype.type(scores.shape[2]))


def hinge_loss(scores: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
    """Return the multiclass hinge loss (Weston and Watkins 1999) with corners rounded over `HINGE_WIDTH`."""
    own = np.einsum("npk,nk->np", scores, targets)
    margins = np.where(targets[:, None] > 0, 0, scores - own[:, :, None] + 1)
    slopes = np.clip(margins / HINGE_WIDTH, 0, 1)
    losses = (slopes * (margins - 0.5 * HINGE_WIDTH * slopes)).sum(axis=2)
    slopes = slopes - slopes.sum(axis=2, keepdims=True) * targets[:, None]
    return losses * weights, slopes * weights[:, None]


def squared_loss(scores: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
    """Return half the sum of the squared errors of the units."""
    slopes = (scores - targets[:, None]) * weights[:, None]
    return (0.5 * slopes * (scores - targets[:, None])).sum(axis=2), slopes
