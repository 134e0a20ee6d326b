"""A linear head to be solved, and what is reported about its solution."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.terminal.formatting import decimal, percent
from cnncli.training.objective import ClassWeights, smooth_targets

Method = Literal["logistic regression", "linear support vector machine", "ridge regression"]


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
        l2: L2 strength, for Pareto-scaled features if it was chosen by cross-validation.
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
        return f"{self.method}, L2 {self.l2:.2g} for Pareto-scaled features ({results})"


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
        boundaries: First column in `features` of each network but the first; empty for one network.
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
    boundaries: tuple[int, ...] = ()

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
        outcomes = 2 if self.activation == "sigmoid" else self.n_classes
        smoothed: NDArray[np.float32] = smooth_targets(targets, self.label_smoothing, outcomes)
        return smoothed

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
