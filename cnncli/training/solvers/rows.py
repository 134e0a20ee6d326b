"""The images of a head to be solved as rows of numbers, and the losses and gradients of several problems on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.losses import CROSS_ENTROPY
from cnncli.training.solvers.lbfgs import Minimum, minimize
from cnncli.training.solvers.problem import HeadProblem
from cnncli.training.solvers.row_losses import RowLoss, hinge_loss, sigmoid_loss, softmax_loss

Array = NDArray[Any]

SMALLEST_DEVIATION = 0.01
"""Smallest standard deviation of a feature that counts, as a fraction of the typical one. No feature is divided by less
than a tenth of that: one that hardly varies in the training images would be magnified without limit in others."""
SMALLEST_VARIATION = 0.01
"""Smallest typical deviation of a network's features, as a fraction of their root mean square: a network that gives all
training images nearly the same features is not magnified until it counts as much as the others."""


@dataclass(frozen=True)
class Space:
    """Centered, possibly Pareto-scaled features, and the way back.

    Attributes:
        rows: float32 (n, r). Features wider than n are rotated to r = n, which loses nothing, because the kernel is a
            sum of rows.
        mean, scale: What was subtracted from the features, and by what they were divided, float64 (features,).
        back: Converts a kernel (r, units) to one for the features, float64 (features, r); None if they are the same.
        boundaries: See `HeadProblem`.
    """

    rows: NDArray[np.float32]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    back: NDArray[np.float64] | None
    boundaries: tuple[int, ...]

    @classmethod
    def of(cls, problem: HeadProblem, *, rotate: bool = True) -> Space:
        """Center the features of a problem, Pareto-scale them unless a strength is given, and maybe rotate."""
        features, boundaries = problem.features, problem.boundaries
        mean, scale = features.mean(axis=0, dtype=np.float64), np.ones(features.shape[1])
        rows = features - mean.astype(np.float32)
        if problem.l2 is None:
            scale = scales_of(np.sqrt(sums_of_squares(rows) / len(rows)), mean, boundaries)
            rows /= scale.astype(np.float32)
        if rows.shape[1] <= len(rows) or not rotate:
            return cls(rows, mean, scale, None, boundaries)
        wide = rows.astype(np.float64)
        gram = wide @ wide.T
        gram[np.diag_indices_from(gram)] += 1e-10 * np.trace(gram) + 1e-12  # images can be equal
        lower = np.linalg.cholesky(gram)
        return cls(lower.astype(np.float32), mean, scale, np.linalg.solve(lower, wide).T, boundaries)

    def restore(self, kernel: Array, bias: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return kernel and bias for the features themselves."""
        kernel = kernel if self.back is None else self.back @ kernel
        kernel = kernel / self.scale[:, None]
        return kernel.astype(np.float32), (bias - self.mean @ kernel).astype(np.float32)


@dataclass(frozen=True)
class Rows:
    """The images of a problem in a `Space`.

    Attributes:
        is_difference: Whether the only unit is the difference of the scores of two softmax classes. With kernels ±w/2,
            their penalty is half that of w.
        is_multi_label: Whether an image is correct if all of its labels are.
    """

    rows: Array
    targets: Array
    weights: Array
    loss: RowLoss
    is_difference: bool
    is_multi_label: bool

    @classmethod
    def of(cls, problem: HeadProblem, space: Space) -> Rows:
        """Return the rows of a problem with its loss."""
        is_sigmoid = problem.activation == "sigmoid"
        is_difference = problem.n_classes == 2 and not is_sigmoid and problem.loss == CROSS_ENTROPY
        loss = sigmoid_loss if is_sigmoid or is_difference else softmax_loss
        targets = problem.targets[:, 1:] if is_difference else problem.targets
        return cls(
            space.rows,
            targets,
            problem.weights,
            hinge_loss if problem.loss == "hinge" else loss,
            is_difference,
            problem.labels.ndim == 2,
        )

    @cached_property
    def squared_length(self) -> float:
        """Mean squared length of a row."""
        return float(sums_of_squares(self.rows).sum()) / len(self.rows)

    @property
    def size(self) -> int:
        """Number of variables: the kernel (r, units), then the bias."""
        return int((self.rows.shape[1] + 1) * self.targets.shape[1])

    def in_float64(self) -> Rows:
        """Return the same rows in float64."""
        rows, targets, weights = (one.astype(np.float64) for one in (self.rows, self.targets, self.weights))
        return replace(self, rows=rows, targets=targets, weights=weights)

    def unpack(self, x: Array) -> tuple[Array, Array]:
        """Return the kernel (r, classes) and the bias (classes,) of a solution (N,)."""
        values = x.reshape(-1, self.targets.shape[1])
        if self.is_difference:
            values = np.hstack([-values, values]) / 2
        return values[:-1], values[-1]

    def evaluate(self, x: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Return the loss of each row, and whether it is classified correctly, both (n, P), for solutions (P, N)."""
        return evaluate_scores(self.scores(x), self.targets, self.weights, self.loss, self.is_multi_label)

    def problems(self, use: Array) -> Problems:
        """Return P problems, each on the rows whose entry in `use` (n, P) is 1."""
        return Problems(self, (use / use.sum(axis=0)).astype(self.rows.dtype))

    def scores(self, x: Array) -> Array:
        """Return the scores (n, P, units) of solutions (P, N)."""
        values = x.reshape(len(x), -1, self.targets.shape[1])
        kernels = values[:, :-1].transpose(1, 0, 2).reshape(self.rows.shape[1], -1)
        return (self.rows @ kernels).reshape(len(self.rows), *values[:, -1].shape) + values[:, -1]


@dataclass(frozen=True)
class Problems:
    """P problems on the same rows, of which each has its `fractions` (n, P) of the mean loss."""

    rows: Rows
    fractions: Array

    @cached_property
    def steepest(self) -> float:
        """Largest absolute entry of a gradient without weights, which no penalty changes."""
        _, gradients = self._mean_loss(np.zeros((self.fractions.shape[1], self.rows.size), self.fractions.dtype))
        return float(np.abs(gradients).max())

    def solve(self, l2: float | Array, start: Array, tolerance: float, max_iterations: int) -> Minimum:
        """Solve the problems, from `start` (P, N) on, until the gradients are the fraction `tolerance` of `steepest`.

        `l2` is the strength of the penalty: one number, or that of each row of each kernel, (P, r, 1).
        """
        dtype, units = self.fractions.dtype, self.rows.targets.shape[1]
        penalty = np.asarray(l2, dtype) / (2 if self.rows.is_difference else 1)

        def objective(x: Array) -> tuple[NDArray[np.float64], Array]:
            losses, gradients = self._mean_loss(x)
            kernels = x.reshape(len(x), -1, units)[:, :-1]
            gradients.reshape(len(x), -1, units)[:, :-1] += 2 * penalty * kernels
            return losses + (penalty * np.square(kernels)).sum(axis=(1, 2), dtype=np.float64), gradients

        first_step = 1.0 / (1.0 + self.rows.squared_length + 2 * float(penalty.max()))
        return minimize(objective, start.astype(dtype), first_step, tolerance * self.steepest, max_iterations)

    def _mean_loss(self, x: Array) -> tuple[NDArray[np.float64], Array]:
        """Return the mean losses (P,) of solutions (P, N), and their gradients."""
        rows = self.rows
        losses, slopes = rows.loss(rows.scores(x), rows.targets, rows.weights)
        slopes *= self.fractions[:, :, None]
        gradients = np.empty((len(x), x.shape[1] // slopes.shape[2], slopes.shape[2]), x.dtype)
        products = rows.rows.T @ slopes.reshape(len(slopes), -1)
        gradients[:, :-1] = products.reshape(-1, *slopes.shape[1:]).transpose(1, 0, 2)
        gradients[:, -1] = slopes.sum(axis=0)
        return np.einsum("np,np->p", losses, self.fractions, dtype=np.float64), gradients.reshape(x.shape)


def evaluate_scores(
    scores: Array, targets: Array, weights: Array, loss: RowLoss, is_multi_label: bool
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the loss of each row, and whether it is classified correctly, both (n, P), for scores (n, P, units)."""
    losses, _ = loss(scores, targets, weights)
    if is_multi_label or scores.shape[2] == 1:
        return losses, ((scores > 0) == (targets[:, None] > 0.5)).all(axis=2)
    return losses, scores.argmax(axis=2) == targets.argmax(axis=1)[:, None]


def sums_of_squares(rows: Array) -> NDArray[np.float64]:
    """Return the sum of the squares of each feature, (r,), of rows (n, r)."""
    return np.asarray(np.einsum("nr,nr->r", rows, rows, dtype=np.float64))


def scales_of(
    deviations: NDArray[np.float64], means: NDArray[np.float64], boundaries: Sequence[int] = ()
) -> NDArray[np.float64]:
    """Return the scales (r,) of features with some standard deviations and means (r,).

    A scale is √(deviation · typical deviation): Pareto scaling (van den Berg et al. 2006, BMC Genomics 7, 142).
    Standardized, features that hardly vary weigh nearly as much as the others. Of 120 classes of drawn letters
    (`scripts/bench.py letters`: 2,400 images, 160 px), Pareto scaling recognizes 5.9 points more with VGG16, 3.0 with
    EfficientNetLite0, 2.9 with MobileNet, and 0.4 less with ResNet50. Without any scaling, letters are recognized as
    well, but dogs and cats up to 0.3 points worse.

    The typical deviation is the root mean square of those of a network, because those of several networks, which begin
    at `boundaries` (see `HeadProblem`), may differ by orders of magnitude.
    """
    scales = np.ones_like(deviations)
    parts = (np.split(one, boundaries) for one in (scales, deviations, means))
    for scale, deviation, mean in zip(*parts, strict=True):
        typical = _root_mean_square(deviation)
        typical = max(typical, SMALLEST_VARIATION * float(np.hypot(typical, _root_mean_square(mean))))
        if typical > 0:
            scale[:] = np.sqrt(typical * np.maximum(deviation, SMALLEST_DEVIATION * typical))
    return scales


def _root_mean_square(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(values).mean()))
