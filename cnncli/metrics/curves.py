"""ROC and precision-recall curves of a score, and the areas under them.

All values are those of scikit-learn, whose import would take longer than an evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 200
"""Maximum number of points of a curve to draw."""


@dataclass(frozen=True)
class Ranking:
    """Images in the order of falling scores; at each distinct score, all images down to it are predicted as positive.

    Attributes:
        cuts: The distinct scores, falling.
        hits: Number of positive images down to each of them.
        alarms: Number of negative images down to each of them.
    """

    cuts: NDArray[np.float64]
    hits: NDArray[np.int64]
    alarms: NDArray[np.int64]

    @classmethod
    def of(cls, scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Ranking:
        """Rank scores (n,) of at least one image, of which some are positive (n,)."""
        order = np.argsort(-scores, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # the last image of each score
        hits = np.cumsum(positive[order], dtype=np.int64)[ends]
        return cls(scores[order][ends], hits, ends + 1 - hits)

    @property
    def precision(self) -> NDArray[np.float64]:
        """Fraction of the predicted images that are positive."""
        return np.asarray(self.hits / (self.hits + self.alarms))

    @property
    def recall(self) -> NDArray[np.float64]:
        """Fraction of the positive images that are predicted, also called true positive rate."""
        return np.asarray(self.hits / max(1, self.hits[-1]))

    @property
    def false_positive_rate(self) -> NDArray[np.float64]:
        """Fraction of the negative images that are predicted."""
        return np.asarray(self.alarms / max(1, self.alarms[-1]))

    @cached_property
    def average_precision(self) -> float | None:
        """Σ (Rₖ − Rₖ₋₁) Pₖ over the distinct scores, without interpolation; None without a positive image."""
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision)) if self.hits[-1] else None

    @cached_property
    def roc_auc(self) -> float | None:
        """Area under the ROC curve; None without both positive and negative images."""
        if not (self.hits[-1] and self.alarms[-1]):
            return None
        heights = np.concatenate([[0.0], self.recall])
        return float(np.sum(np.diff(self.false_positive_rate, prepend=0.0) * (heights[1:] + heights[:-1]) / 2))


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that exist, or None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class ClassCurves:
    """Curves of a class against all others, to draw: at most `MAX_POINTS` points each, from the highest score on.

    Attributes:
        name: The class.
        roc: False positive rate and recall of each point, in 0-1.
        precision_recall: Recall and precision of each point, in 0-1.
        roc_auc: Area under the ROC curve.
        average_precision: Average precision.
    """

    name: str
    roc: tuple[tuple[float, float], ...]
    precision_recall: tuple[tuple[float, float], ...]
    roc_auc: float
    average_precision: float


def class_curves(scores: NDArray[np.float64], labels: NDArray[Any], classes: Sequence[str]) -> tuple[ClassCurves, ...]:
    """Return the curves of each class that has both positive and negative images.

    Args:
        scores: (n, classes) with the ranking of the probabilities.
        labels: (n,) class indices, or (n, classes) with 0 and 1, if multi-label.
        classes: Names, in the order of the scores. Of two exclusive classes, only the second has curves, as usual.
    """
    curves = []
    for place, name in enumerate(classes):
        positive = labels[:, place] > 0 if labels.ndim == 2 else labels == place
        is_mirror_image = labels.ndim == 1 and len(classes) == 2 and place == 0
        if is_mirror_image or not 0 < positive.sum() < len(positive):
            continue
        ranking = Ranking.of(scores[:, place], positive)
        x, recall, precision = ranking.false_positive_rate, ranking.recall, ranking.precision
        roc = _thin(np.concatenate([[0.0], x]), np.concatenate([[0.0], recall]))
        precision_recall = _thin(np.concatenate([[0.0], recall]), np.concatenate([precision[:1], precision]))
        curves.append(
            ClassCurves(name, roc, precision_recall, ranking.roc_auc or 0.0, ranking.average_precision or 0.0)
        )
    return tuple(curves)


def _thin(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """Return at most `MAX_POINTS` points of a curve, with both ends."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(MAX_POINTS, len(x))).round().astype(int))
    return tuple(zip(x[kept].tolist(), y[kept].tolist(), strict=True))
