"""Evaluate a multi-label classifier: results of each label, mean average precision, thresholds.

All values are those of scikit-learn with `zero_division=0`. A label without a positive image has no average precision
and does not count in the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnncli.metrics.curves import Ranking, mean_of

DEFAULT_THRESHOLD = 0.5
"""Threshold of a label for which validation shows no better one."""


@dataclass(frozen=True)
class LabelMetrics:
    """Results of a label on `n` positive images at its threshold; all values are 0-1.

    Attributes:
        average_precision: Mean precision over the ranking of the images; None without a positive image.
    """

    precision: float
    recall: float
    f1: float
    n: int
    threshold: float
    average_precision: float | None


@dataclass(frozen=True)
class MultiLabelMetrics:
    """Results of a multi-label classifier; all values are 0-1.

    Attributes:
        n_exact: Number of images all of whose labels are right (subset accuracy).
        mean_average_precision: Mean over the labels with a positive image (mAP).
        micro_f1: F1 of all decisions together.
        macro_f1: Mean F1 of the labels.
        per_label: Results of each label.
    """

    n_exact: int
    mean_average_precision: float
    micro_f1: float
    macro_f1: float
    per_label: tuple[LabelMetrics, ...]


def evaluate_labels(
    probabilities: NDArray[np.float64], targets: NDArray[np.uint8], thresholds: Sequence[float]
) -> MultiLabelMetrics:
    """Evaluate probabilities (n, labels) for multi-hot targets (n, labels); a label is predicted from its threshold on.

    The order of the images does not matter.
    """
    predicted, true = probabilities >= np.asarray(thresholds), targets.astype(bool)
    hits, n_predicted, n_true = (count.sum(axis=0).tolist() for count in (predicted & true, predicted, true))
    per_label = tuple(
        LabelMetrics(
            *(ratio(hit, chosen), ratio(hit, n), ratio(2 * hit, chosen + n), n, threshold),
            Ranking.of(probabilities[:, label], true[:, label]).average_precision,
        )
        for label, (hit, chosen, n, threshold) in enumerate(zip(hits, n_predicted, n_true, thresholds, strict=True))
    )
    return MultiLabelMetrics(
        n_exact=int((predicted == true).all(axis=1).sum()),
        mean_average_precision=mean_of([one.average_precision for one in per_label]) or 0.0,
        micro_f1=ratio(2 * sum(hits), sum(n_predicted) + sum(n_true)),
        macro_f1=float(np.mean([one.f1 for one in per_label])),
        per_label=per_label,
    )


def best_threshold(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the threshold with the highest F1, in the middle of two scores; of equals, the one closest to 0.5.

    Without both positive and negative images it is `DEFAULT_THRESHOLD`.

    >>> best_threshold(np.array([0.9, 0.6, 0.2]), np.array([True, True, False]))
    0.4
    """
    if not 0 < positive.sum() < len(positive):
        return DEFAULT_THRESHOLD
    ranking = Ranking.of(scores, positive)
    precision, recall, cuts = ranking.precision, ranking.recall, ranking.cuts
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    middles = (cuts + np.append(cuts[1:], 0.0)) / 2
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(middles[best[np.argmin(np.abs(middles[best] - DEFAULT_THRESHOLD))]])


def ratio(part: int, whole: int) -> float:
    """Return part / whole, or 0 for a whole of 0."""
    return part / whole if whole else 0.0
