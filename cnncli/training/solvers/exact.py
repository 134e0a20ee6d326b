"""Solve a linear head on features exactly: a convex problem with one solution, without learning rate and epochs.

The objective is that of gradient training: the mean loss, with label smoothing and class weights, plus l2 · Σw² on the
kernel. Unless an L2 strength is given, features are standardized, the strength with the lowest cross-validated loss is
chosen, and the standardization becomes part of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.losses import CROSS_ENTROPY
from cnncli.terminal.formatting import decimal, percent
from cnncli.training.objective import ClassWeights
from cnncli.training.solvers.lbfgs import Minimum, minimize
from cnncli.training.solvers.ridge import Moments, cross_validate, fit_sharpness
from cnncli.training.solvers.row_losses import RowLoss, hinge_loss, sigmoid_loss, softmax_loss, squared_loss

Array = NDArray[Any]
Method = Literal["logistic regression", "linear support vector machine", "ridge regression"]

STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(2, -13, -1))
"""L2 strengths to choose from, for standardized features: from 10 down to 1e-6 in half decades."""
FIRST_STRENGTH = 2
"""Place of the strength that is tried first: 1. Stronger ones are tried if it is the best."""
PATIENCE = 2
"""Number of strengths in a row without a lower cross-validated loss after which weaker ones are not tried."""
FOLDS = 5
MAX_COST_OF_FOLDS = 5e7
"""Rows × features × units up to which the strength is chosen on `FOLDS` folds, beyond it on one of them."""
MAX_COST = 5e9
"""Rows × features × units beyond which ridge regression replaces logistic regression, which needs many passes."""
ROUGH, EXACT = 1e-3, 1e-7
"""Largest entry of the gradient of a solution, as a fraction of that without weights, which falls with the number of
classes: to compare strengths, and for the result."""
MAX_ROUGH_ITERATIONS, MAX_ITERATIONS = 100, 2_000
SMALLEST_DEVIATION = 0.1
"""Smallest standard deviation by which a feature is divided, as a fraction of the root mean square of all: one that
hardly varies in the training images would be magnified without limit in others."""
MIN_FOLDS = 3
"""Fewest folds of `solve_folds`, which chooses the strength without a fold on at least two others."""


@dataclass(frozen=True)
class Strength:
    """An L2 strength with its cross-validated results: the mean loss, and the accuracy in 0-1."""

    l2: float
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Solution:
    """Facts about the solution of a head.

    Attributes:
        method: The problem that was solved.
        l2: L2 strength, for standardized features if it was chosen by cross-validation.
        strengths: The strengths that were tried, strongest first; empty if one was given.
        passes: Passes over the training images for the result; 1 for a closed form.
        gradient: Largest absolute entry of the objective's gradient at the result.
        penalty: The penalty at the result.
    """

    method: Method
    l2: float
    strengths: tuple[Strength, ...]
    passes: int
    gradient: float
    penalty: float

    def describe(self) -> str:
        """Return one line for the screen."""
        if not self.strengths:
            return f"{self.method}, L2 {self.l2:g}"
        best = min(self.strengths, key=lambda strength: strength.loss)
        results = f"loss {decimal(best.loss)}, accuracy {percent(best.accuracy)}"
        return f"{self.method}, L2 {self.l2:.2g} for standardized features ({results})"


@dataclass(frozen=True)
class LinearHead:
    """A solved head: kernel float32 (features, units) and bias float32 (units,), and how they were found."""

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    solution: Solution


@dataclass(frozen=True)
class HeadProblem:
    """A linear head to be solved.

    Attributes:
        features: float32 (n, features); views of an image are rows of their own.
        labels: int64 (n,), or uint8 (n, classes) with 1 for each label of an image.
        folds: int64 (n,) fold of each row, from 0; unused if `l2` is given.
        n_classes: Number of classes or labels.
        activation: `softmax`, `sigmoid` or `linear`. Sigmoid gives two classes one unit, unless labels are 2-D.
        loss: `cross-entropy`, `hinge` or `squared-error`, the last two with `linear`.
        l2: Given strength of the penalty l2 · Σw² on the kernel; None to choose it.
        label_smoothing: Fraction of the label that is spread over all classes.
        class_weights: Weight of each class, or for 2-D labels those of images without and with each label.
    """

    features: NDArray[np.float32]
    labels: NDArray[Any]
    folds: NDArray[np.int64]
    n_classes: int
    activation: str = "softmax"
    loss: str = "cross-entropy"
    l2: float | None = None
    label_smoothing: float = 0.0
    class_weights: ClassWeights | None = None

    @property
    def units(self) -> int:
        """Number of scores per image."""
        return 1 if self.activation == "sigmoid" and self.n_classes == 2 and self.labels.ndim == 1 else self.n_classes

    @cached_property
    def targets(self) -> NDArray[np.float32]:
        """Smoothed targets (n, units) in 0-1."""
        if self.labels.ndim == 2:
            targets = self.labels.astype(np.float32)
        elif self.units == 1:
            targets = self.labels[:, None].astype(np.float32)
        else:
            targets = np.eye(self.n_classes, dtype=np.float32)[self.labels]
        uniform = 0.5 if self.activation == "sigmoid" else 1.0 / self.n_classes
        return targets * np.float32(1 - self.label_smoothing) + np.float32(uniform * self.label_smoothing)

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """Weight (n, 1) of each row, or (n, units) of each label."""
        n = len(self.labels)
        if self.class_weights is None:
            return np.ones((n, 1), np.float32)
        weights = np.array(self.class_weights, np.float32)
        if self.labels.ndim == 2:
            return np.asarray(np.where(self.labels > 0, weights[1], weights[0]))
        return np.asarray(weights[self.labels][:, None])

    def without(self, fold: int) -> HeadProblem:
        """Return the problem without a fold, whose number the last fold takes."""
        kept = self.folds != fold
        folds = np.where(self.folds == self.folds.max(), fold, self.folds)[kept]
        return replace(self, features=self.features[kept], labels=self.labels[kept], folds=folds)


def solve_head(problem: HeadProblem) -> LinearHead:
    """Solve a linear head in float64. The result depends only on the problem."""
    space = Space.of(problem.features, standardize=problem.l2 is None)
    cost = space.rows.size * problem.units
    if problem.loss == "squared-error" or cost > MAX_COST:
        return _solve_by_ridge(problem, space)
    rows = _Rows.of(problem, space)
    strengths: list[Strength] = []
    start = np.zeros((1, rows.size))
    if (l2 := problem.l2) is None:
        n_folds = int(problem.folds.max()) + 1 if cost <= MAX_COST_OF_FOLDS else 1
        strengths, start = _choose_strength(rows, problem.folds[:, None] != np.arange(n_folds))
        l2 = _best(strengths).l2
    found = rows.in_float64().problems(np.ones((len(space.rows), 1))).solve(l2, start, EXACT, MAX_ITERATIONS)
    kernel, bias = rows.unpack(found.x[0])
    penalty = l2 * float(np.square(kernel).sum())
    method: Method = "linear support vector machine" if problem.loss == "hinge" else "logistic regression"
    solution = Solution(method, l2, tuple(strengths), found.iterations, float(found.gradient[0]), penalty)
    return LinearHead(*space.restore(kernel, bias), solution)


def solve_folds(problem: HeadProblem) -> list[LinearHead]:
    """Solve the head without each of the folds of a problem, at least `MIN_FOLDS`, as `solve_head` does.

    The features are standardized, and the strength is chosen, without the fold. A solution without two folds serves the
    choice of both, so that K folds need K · (K − 1) / 2 solutions of each strength, which are found together.
    """
    n_folds = int(problem.folds.max()) + 1
    cost = problem.features.size * problem.units
    if problem.loss == "squared-error" or cost > MAX_COST:
        return [solve_head(problem.without(fold)) for fold in range(n_folds)]
    space = Space.of(problem.features, standardize=problem.l2 is None, rotate=False)
    rows, folds = _Rows.of(problem, space), _Folds.of(space, problem.folds, n_folds)
    singles = [(fold,) for fold in range(n_folds)]
    if problem.l2 is None:
        tried, start = _choose_strengths(rows, folds, one_each=cost > MAX_COST_OF_FOLDS)
        strengths, stretches = [_best(one).l2 for one in tried], folds.stretches(singles)
    else:
        tried, start = [[] for _ in singles], np.zeros((n_folds, rows.size), np.float32)
        strengths, stretches = [problem.l2] * n_folds, np.ones((n_folds, space.rows.shape[1], 1), np.float32)
    penalties = np.array(strengths, np.float32)[:, None, None] * stretches
    found = rows.in_float64().problems(folds.use(singles)).solve(penalties, start, EXACT, MAX_ITERATIONS)
    method: Method = "linear support vector machine" if problem.loss == "hinge" else "logistic regression"
    heads = []
    for fold, x in enumerate(found.x):
        kernel, bias = rows.unpack(x)
        facts = (found.iterations, float(found.gradient[fold]), float((penalties[fold] * np.square(kernel)).sum()))
        solution = Solution(method, strengths[fold], tuple(tried[fold]), *facts)
        heads.append(LinearHead(*space.restore(kernel, bias), solution))
    return heads


def _choose_strengths(
    rows: _Rows, folds: _Folds, *, one_each: bool
) -> tuple[list[list[Strength]], NDArray[np.float32]]:
    """Try strengths for each fold; return those tried for each, and the start of its solution (K, N).

    They are evaluated on each of the other folds, by a solution without both, or on the next one if `one_each`.
    """
    n_folds = len(folds.sizes)
    pairs = [(fold, (fold + 1) % n_folds) for fold in range(n_folds)]
    evaluations = [[(fold, other)] for fold, other in pairs]  # number of the pair, and the other fold
    if not one_each:
        pairs = list(combinations(range(n_folds), 2))
        evaluations = [
            [(n, sum(pair) - fold) for n, pair in enumerate(pairs) if fold in pair] for fold in range(n_folds)
        ]
    problems, stretches = rows.problems(folds.use(pairs)), folds.stretches(pairs)

    def try_strength(l2: float, x: Array) -> tuple[Array, list[Strength]]:
        x = problems.solve(np.float32(l2) * stretches, x, ROUGH, MAX_ROUGH_ITERATIONS).x
        losses, are_correct = rows.evaluate(x)
        found = []
        for held_out in evaluations:
            loss, accuracy = (
                float(
                    np.concatenate([values[folds.member[:, other], n] for n, other in held_out]).mean(dtype=np.float64)
                )
                for values in (losses, are_correct)
            )
            found.append(Strength(l2, loss, accuracy))
        return x, found

    tried, solutions = _search(try_strength, np.zeros((len(pairs), rows.size), np.float32))
    start = [
        solutions[_best(one).l2][[n for n, _ in held_out]].mean(axis=0)
        for one, held_out in zip(tried, evaluations, strict=True)
    ]
    return tried, np.stack(start)


def _search(
    try_strength: Callable[[float, Array], tuple[Array, list[Strength]]], start: Array
) -> tuple[list[list[Strength]], dict[float, Array]]:
    """Try strengths until further ones are not expected to be better.

    Args:
        try_strength: Solves the problems for a strength, from a start on; returns the solutions and some results.
        start: The first start.

    Returns:
        The strengths that were tried, strongest first, with each of the results, and the solutions of each strength.
    """
    solutions: dict[float, Array] = {}
    tried: list[list[Strength]] = []
    x = start
    for l2 in STRENGTHS[FIRST_STRENGTH:]:
        x, found = try_strength(l2, x)
        solutions[l2] = x
        tried = [[*before, one] for before, one in zip(tried or [[] for _ in found], found, strict=True)]
        if all(one.index(_best(one)) < len(one) - PATIENCE for one in tried):
            break
    x = solutions[STRENGTHS[FIRST_STRENGTH]]
    for l2 in reversed(STRENGTHS[:FIRST_STRENGTH]):
        if not any(one[0] is _best(one) for one in tried):
            break
        x, found = try_strength(l2, x)
        solutions[l2] = x
        tried = [[one, *others] for one, others in zip(found, tried, strict=True)]
    return tried, solutions


@dataclass(frozen=True)
class _Folds:
    """The folds of the rows of a problem.

    Attributes:
        member: Whether each row (n,) is in each fold (K,).
        sizes: Number of rows of each fold (K,).
        sums, squares: Sums of the features and of their squares of each fold, float64 (K, r).
        scale: By what the features were divided, float64 (r,).
    """

    member: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, space: Space, folds: NDArray[np.int64], n_folds: int) -> _Folds:
        """Return the folds of rows (n, r) that are not rotated, with the number of the fold of each, (n,)."""
        parts = [space.rows[folds == fold] for fold in range(n_folds)]
        sums = np.stack([part.sum(axis=0, dtype=np.float64) for part in parts])
        squares = np.stack([_squares(part) for part in parts])
        sizes = np.array([len(part) for part in parts])
        return cls(folds[:, None] == np.arange(n_folds), sizes, sums, squares, space.scale)

    def use(self, left_out: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return 1 for the rows outside the folds that each problem leaves out, (n, problems)."""
        return np.stack([~self.member[:, list(folds)].any(axis=1) for folds in left_out], axis=1).astype(np.float32)

    def stretches(self, left_out: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return by what the penalty of each weight is multiplied in each problem, (problems, r, 1).

        It then is that of the weight of a feature that is standardized on the rows of this problem.
        """
        kept = [[fold for fold in range(len(self.sizes)) if fold not in folds] for folds in left_out]
        n = np.array([self.sizes[one].sum() for one in kept])[:, None]
        means, squares = (np.stack([part[one].sum(axis=0) for one in kept]) / n for part in (self.sums, self.squares))
        deviations = self.scale * np.sqrt(np.maximum(squares - means**2, 0.0))
        scales = np.stack([_scale_of(one) for one in deviations])
        stretches: NDArray[np.float64] = np.square(scales / self.scale)
        return stretches[:, :, None].astype(np.float32)


def _solve_by_ridge(problem: HeadProblem, space: Space) -> LinearHead:
    """Solve a head in closed form by least squares. For the cross-entropy, a factor turns its scores into logits.

    Label by label, a score of 0.5 then is a logit of 0.
    """
    rows, targets, weights = (one.astype(np.float64) for one in (space.rows, problem.targets, problem.weights[:, :1]))
    is_squared, is_softmax = problem.loss == "squared-error", problem.activation != "sigmoid"
    middle = 0.0 if is_squared or is_softmax else 0.5
    strengths: list[Strength] = []
    sharpness, l2 = 1.0, problem.l2
    if l2 is None:
        held_out = cross_validate(rows, targets, weights, problem.folds, STRENGTHS)
        factors = [
            1.0 if is_squared else fit_sharpness(one - middle, targets, is_softmax=is_softmax) for one in held_out
        ]
        loss = squared_loss if is_squared else softmax_loss if is_softmax else sigmoid_loss
        for one, factor, strength in zip(held_out, factors, STRENGTHS, strict=True):
            scores = (factor * (one - middle))[:, None]
            losses, are_correct = _evaluate(scores, targets, weights, loss, problem.labels.ndim == 2)
            strengths.append(Strength(strength, float(losses.mean()), float(are_correct.mean())))
        best = strengths.index(_best(strengths))
        l2, sharpness = STRENGTHS[best], factors[best]
    kernel, bias = Moments.of(rows, targets, weights).solve(l2, len(rows))
    solution = Solution("ridge regression", l2, tuple(strengths), 1, 0.0, l2 * float(np.square(kernel).sum()))
    return LinearHead(*space.restore(sharpness * kernel, sharpness * (bias - middle)), solution)


def _choose_strength(rows: _Rows, use: NDArray[np.bool_]) -> tuple[list[Strength], Array]:
    """Try strengths; return their results, strongest first, and the mean solution of the best, shape (1, N).

    `use` (n, folds) is true for the rows on which the head of each fold is solved; it is evaluated on the others.
    """
    problems = rows.problems(use.astype(np.float32))

    def try_strength(l2: float, x: Array) -> tuple[Array, list[Strength]]:
        x = problems.solve(l2, x, ROUGH, MAX_ROUGH_ITERATIONS).x
        losses, are_correct = rows.evaluate(x)
        loss, accuracy = losses[~use].mean(dtype=np.float64), are_correct[~use].mean()
        return x, [Strength(l2, float(loss), float(accuracy))]

    (strengths,), solutions = _search(try_strength, np.zeros((use.shape[1], rows.size), np.float32))
    return strengths, solutions[_best(strengths).l2].mean(axis=0, keepdims=True, dtype=np.float64)


def _evaluate(
    scores: Array, targets: Array, weights: Array, loss: RowLoss, is_multi_label: bool
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the loss of each row, and whether it is classified correctly, both (n, P), for scores (n, P, units)."""
    losses, _ = loss(scores, targets, weights)
    if is_multi_label or scores.shape[2] == 1:
        return losses, ((scores > 0) == (targets[:, None] > 0.5)).all(axis=2)
    return losses, scores.argmax(axis=2) == targets.argmax(axis=1)[:, None]


def _squares(rows: Array) -> NDArray[np.float64]:
    """Return the sum of the squares of each feature, (r,), of rows (n, r)."""
    return np.asarray(np.einsum("nr,nr->r", rows, rows, dtype=np.float64))


def _scale_of(deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by what features with some standard deviations (r,) are divided."""
    typical = float(np.sqrt(np.square(deviations).mean()))
    return np.maximum(deviations, SMALLEST_DEVIATION * typical) if typical else np.ones_like(deviations)


def _best(strengths: Sequence[Strength]) -> Strength:
    return min(strengths, key=lambda strength: strength.loss)


@dataclass(frozen=True)
class Space:
    """Centered, possibly standardized features, and the way back.

    Attributes:
        rows: float32 (n, r). Features wider than n are rotated to r = n, which loses nothing, because the kernel is a
            sum of rows.
        mean, scale: What was subtracted from the features, and by what they were divided, float64 (features,).
        back: Converts a kernel (r, units) to one for the features, float64 (features, r); None if they are the same.
    """

    rows: NDArray[np.float32]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    back: NDArray[np.float64] | None

    @classmethod
    def of(cls, features: NDArray[np.float32], *, standardize: bool, rotate: bool = True) -> Space:
        """Center features (n, features), divide them by their standard deviation if `standardize`, and maybe rotate."""
        mean, scale = features.mean(axis=0, dtype=np.float64), np.ones(features.shape[1])
        rows = features - mean.astype(np.float32)
        if standardize:
            scale = _scale_of(np.sqrt(_squares(rows) / len(rows)))
            rows /= scale.astype(np.float32)
        if rows.shape[1] <= len(rows) or not rotate:
            return cls(rows, mean, scale, None)
        wide = rows.astype(np.float64)
        gram = wide @ wide.T
        gram[np.diag_indices_from(gram)] += 1e-10 * np.trace(gram) + 1e-12  # images can be equal
        lower = np.linalg.cholesky(gram)
        return cls(lower.astype(np.float32), mean, scale, np.linalg.solve(lower, wide).T)

    def restore(self, kernel: Array, bias: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return kernel and bias for the features themselves."""
        kernel = kernel if self.back is None else self.back @ kernel
        kernel = kernel / self.scale[:, None]
        return kernel.astype(np.float32), (bias - self.mean @ kernel).astype(np.float32)


@dataclass(frozen=True)
class _Rows:
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
    def of(cls, problem: HeadProblem, space: Space) -> _Rows:
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
        return float(_squares(self.rows).sum()) / len(self.rows)

    @property
    def size(self) -> int:
        """Number of variables: the kernel (r, units), then the bias."""
        return int((self.rows.shape[1] + 1) * self.targets.shape[1])

    def in_float64(self) -> _Rows:
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
        return _evaluate(self.scores(x), self.targets, self.weights, self.loss, self.is_multi_label)

    def problems(self, use: Array) -> _Problems:
        """Return P problems, each on the rows whose entry in `use` (n, P) is 1."""
        return _Problems(self, (use / use.sum(axis=0)).astype(self.rows.dtype))

    def scores(self, x: Array) -> Array:
        """Return the scores (n, P, units) of solutions (P, N)."""
        values = x.reshape(len(x), -1, self.targets.shape[1])
        kernels = values[:, :-1].transpose(1, 0, 2).reshape(self.rows.shape[1], -1)
        return (self.rows @ kernels).reshape(len(self.rows), *values[:, -1].shape) + values[:, -1]


@dataclass(frozen=True)
class _Problems:
    """P problems on the same rows, of which each has its `fractions` (n, P) of the mean loss."""

    rows: _Rows
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
