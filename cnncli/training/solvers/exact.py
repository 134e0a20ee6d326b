"""Solve a linear head on features exactly: a convex problem with one solution, without learning rate and epochs.

The objective is that of gradient training: the mean loss, with label smoothing and class weights, plus l2 · Σw² on the
kernel. Unless an L2 strength is given, features are Pareto-scaled, the strength with the lowest cross-validated loss is
chosen, and the scaling becomes part of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cnncli.training.solvers.problem import HeadProblem, LinearHead, Method, Solution, Strength
from cnncli.training.solvers.ridge import Moments, cross_validate, fit_sharpness
from cnncli.training.solvers.row_losses import sigmoid_loss, softmax_loss, squared_loss
from cnncli.training.solvers.rows import Array, Rows, Space, evaluate_scores, scales_of, sums_of_squares

STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(2, -13, -1))
"""L2 strengths to choose from, for Pareto-scaled features: from 10 down to 1e-6 in half decades."""
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
MIN_FOLDS = 3
"""Fewest folds of `solve_folds`, which chooses the strength without a fold on at least two others."""


def solve_head(problem: HeadProblem) -> LinearHead:
    """Solve a linear head in float64. The result depends only on the problem."""
    space = Space.of(problem)
    cost = space.rows.size * problem.units
    if problem.loss == "squared-error" or cost > MAX_COST:
        return _solve_by_ridge(problem, space)
    rows = Rows.of(problem, space)
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

    The features are Pareto-scaled, and the strength is chosen, without the fold. A solution without two folds serves
    the choice of both, so that K folds need K · (K − 1) / 2 solutions of each strength, which are found together.
    """
    n_folds = int(problem.folds.max()) + 1
    cost = problem.features.size * problem.units
    if problem.loss == "squared-error" or cost > MAX_COST:
        return [solve_head(problem.without(fold)) for fold in range(n_folds)]
    space = Space.of(problem, rotate=False)
    rows, folds = Rows.of(problem, space), _Folds.of(space, problem.folds, n_folds)
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


def _choose_strengths(rows: Rows, folds: _Folds, *, one_each: bool) -> tuple[list[list[Strength]], NDArray[np.float32]]:
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
        space: Their features.
    """

    member: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    space: Space

    @classmethod
    def of(cls, space: Space, folds: NDArray[np.int64], n_folds: int) -> _Folds:
        """Return the folds of rows (n, r) that are not rotated, with the number of the fold of each, (n,)."""
        parts = [space.rows[folds == fold] for fold in range(n_folds)]
        sums = np.stack([part.sum(axis=0, dtype=np.float64) for part in parts])
        squares = np.stack([sums_of_squares(part) for part in parts])
        sizes = np.array([len(part) for part in parts])
        return cls(folds[:, None] == np.arange(n_folds), sizes, sums, squares, space)

    def use(self, left_out: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return 1 for the rows outside the folds that each problem leaves out, (n, problems)."""
        return np.stack([~self.member[:, list(folds)].any(axis=1) for folds in left_out], axis=1).astype(np.float32)

    def stretches(self, left_out: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return by what the penalty of each weight is multiplied in each problem, (problems, r, 1).

        This makes it the penalty for features that are scaled by the rows of this problem.
        """
        kept = [[fold for fold in range(len(self.sizes)) if fold not in folds] for folds in left_out]
        n = np.array([self.sizes[one].sum() for one in kept])[:, None]
        means, squares = (np.stack([part[one].sum(axis=0) for one in kept]) / n for part in (self.sums, self.squares))
        scale, boundaries = self.space.scale, self.space.boundaries
        deviations = scale * np.sqrt(np.maximum(squares - means**2, 0.0))
        means = self.space.mean + scale * means
        scales = np.stack([scales_of(*one, boundaries) for one in zip(deviations, means, strict=True)])
        stretches: NDArray[np.float64] = np.square(scales / scale)
        return stretches[:, :, None].astype(np.float32)


def _solve_by_ridge(problem: HeadProblem, space: Space) -> LinearHead:
    """Solve a head in closed form by least squares. For the cross-entropy, a factor turns its scores into logits.

    Label by label, a score of 0.5 then is a logit of 0.
    """
    rows, targets, weights = (one.astype(np.float64) for one in (space.rows, problem.targets, problem.weights))
    # Labels with weights of their own are problems of their own.
    parts = [slice(k, k + 1) for k in range(weights.shape[1])] if weights.shape[1] > 1 else [slice(None)]
    is_squared, is_softmax = problem.loss == "squared-error", problem.activation != "sigmoid"
    middle = 0.0 if is_squared or is_softmax else 0.5
    candidates = STRENGTHS if problem.l2 is None else (problem.l2,)
    strengths: list[Strength] = []
    factors = [1.0]
    if problem.l2 is None or not is_squared:
        of_parts = [
            cross_validate(rows, targets[:, part], weights[:, part], problem.folds, candidates) for part in parts
        ]
        held_out = [np.hstack(scores) - middle for scores in zip(*of_parts, strict=True)]
        factors = [1.0 if is_squared else fit_sharpness(one, targets, is_softmax=is_softmax) for one in held_out]
        loss = squared_loss if is_squared else softmax_loss if is_softmax else sigmoid_loss
        for one, factor, strength in zip(held_out, factors, candidates, strict=True):
            scores = (factor * one)[:, None]
            losses, are_correct = evaluate_scores(scores, targets, weights, loss, problem.labels.ndim == 2)
            strengths.append(Strength(strength, float(losses.mean()), float(are_correct.mean())))
    best = strengths.index(_best(strengths)) if strengths else 0
    l2, sharpness = candidates[best], factors[best]
    solved = [Moments.of(rows, targets[:, part], weights[:, part]).solve(l2, len(rows)) for part in parts]
    kernel, bias = np.hstack([one for one, _ in solved]), np.concatenate([one for _, one in solved])
    tried = tuple(strengths) if problem.l2 is None else ()
    solution = Solution("ridge regression", l2, tried, 1, 0.0, l2 * float(np.square(kernel).sum()))
    return LinearHead(*space.restore(sharpness * kernel, sharpness * (bias - middle)), solution)


def _choose_strength(rows: Rows, use: NDArray[np.bool_]) -> tuple[list[Strength], Array]:
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


def _best(strengths: Sequence[Strength]) -> Strength:
    return min(strengths, key=lambda strength: strength.loss)
