"""L-BFGS for many independent convex problems at once, such as the folds of a cross-validation.

The problems share their matrix products, which take all the time; SciPy's and scikit-learn's solvers take one problem
at a time, and importing them takes longer than solving. Algorithm: Nocedal and Wright, Numerical Optimization, 2nd ed.,
algorithms 7.4 and 3.1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MEMORY = 20
"""Number of recent steps that approximate the curvature."""
SUFFICIENT_DECREASE = 1e-4
"""Fraction of the decrease expected from the slope with which a step is accepted (Armijo's condition)."""
SHORTENING = 0.25
"""Factor of a step that is not accepted."""
MAX_REFUSALS = 20
"""Refusals in a row after which a problem counts as solved: its value cannot be lowered in this precision."""


@dataclass(frozen=True)
class Minimum:
    """Result of `minimize` for P problems.

    Attributes:
        x: The minimizers, shape (P, N).
        values: The minima, float64 (P,).
        gradient: Largest absolute entry of each gradient, float64 (P,).
        iterations: Number of evaluations of the function.
    """

    x: Array
    values: NDArray[np.float64]
    gradient: NDArray[np.float64]
    iterations: int


def minimize(
    function: Callable[[Array], tuple[NDArray[np.float64], Array]],
    start: Array,
    first_step: float,
    tolerance: float,
    max_iterations: int,
) -> Minimum:
    """Minimize P smooth convex functions of N variables.

    Args:
        function: Returns values (P,) and gradients (P, N) at x (P, N), in the dtype of `start`.
        start: First x, shape (P, N), floating point.
        first_step: Factor of the gradient in the first step, such as the inverse of a bound of the curvature.
        tolerance: Largest absolute entry of a gradient at which a problem is solved.
        max_iterations: Maximum number of evaluations of the function.
    """
    x = start.copy()
    values, gradients = function(x)
    history = _History()
    directions, lengths = -first_step * gradients, np.ones(len(x))
    refusals = np.zeros(len(x), np.int64)
    iterations = 1
    while iterations < max_iterations:
        is_open = (np.abs(gradients).max(axis=1) > tolerance) & (refusals < MAX_REFUSALS)
        if not is_open.any():
            break
        steps = np.where(is_open, lengths, 0.0)[:, None].astype(x.dtype) * directions
        new_values, new_gradients = function(x + steps)
        iterations += 1
        bound = values + SUFFICIENT_DECREASE * _dot(steps, gradients)
        accepted = is_open & (new_values <= bound)
        history.add(np.where(accepted[:, None], steps, 0), np.where(accepted[:, None], new_gradients - gradients, 0))
        x = np.where(accepted[:, None], x + steps, x)
        values = np.where(accepted, new_values, values)
        gradients = np.where(accepted[:, None], new_gradients, gradients)
        refusals = np.where(accepted, 0, refusals + is_open)
        lengths = np.where(accepted, 1.0, lengths * SHORTENING)
        if accepted.any():
            better = -history.times(gradients, first_step)
            directions = np.where(accepted[:, None], better, directions)
    return Minimum(x, values, np.abs(gradients).max(axis=1).astype(np.float64), iterations)


class _History:
    """The recent steps and changes of the gradients, which stand for the inverse Hessian of each problem."""

    def __init__(self) -> None:
        self._pairs: deque[tuple[Array, Array, Array]] = deque(maxlen=MEMORY)

    def add(self, steps: Array, changes: Array) -> None:
        """Add a step of each problem; a step of zero stands for none."""
        curvature = _dot(steps, changes)
        inverse = np.divide(1.0, curvature, out=np.zeros_like(curvature), where=curvature > 0)
        self._pairs.append((steps, changes, inverse))

    def times(self, gradients: Array, first_step: float) -> Array:
        """Return the product of the inverse Hessians and the gradients, both shape (P, N): the two-loop recursion."""
        found, factors = gradients.astype(gradients.dtype), []
        scale = np.full(len(gradients), first_step)
        for steps, changes, inverse in reversed(self._pairs):
            factor = inverse * _dot(steps, found)
            found = found - factor[:, None].astype(found.dtype) * changes
            factors.append(factor)
        for _, changes, inverse in self._pairs:
            squared = _dot(changes, changes)
            scale = np.where(inverse > 0, 1.0 / np.where(inverse > 0, inverse * squared, 1.0), scale)
        found = scale[:, None].astype(found.dtype) * found
        for (steps, changes, inverse), factor in zip(self._pairs, reversed(factors), strict=True):
            correction = factor - inverse * _dot(changes, found)
            found = found + correction[:, None].astype(found.dtype) * steps
        return np.asarray(found)


def _dot(a: Array, b: Array) -> NDArray[np.float64]:
    return np.asarray(np.einsum("pn,pn->p", a, b, dtype=np.float64))
