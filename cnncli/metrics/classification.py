"""Figures of a classifier from its probabilities: loss, accuracy with its interval, each class. NumPy alone.

Ties: among equal probabilities the class that comes first counts as the higher one, as in NumPy's `argmax`. A figure
with nothing to divide by (the recall of a class that has no images) is 0, as in scikit-learn's `zero_division=0`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import DataError

SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)
"""Below this a probability counts as this (1.2e-38, a loss of 87.3): float32 cannot tell less from zero."""

TOP_K = 5


@dataclass(frozen=True)
class ClassMetrics:
    """Figures of one class, each 0-1.

    Attributes:
        precision: share of the images called so that are so.
        recall: share of the images that are so that are called so.
        f1: harmonic mean of both.
        n: images that are so.
    """

    precision: float
    recall: float
    f1: float
    n: int


@dataclass(frozen=True)
class Metrics:
    """Figures of a classifier on some images.

    Attributes:
        n: images.
        loss: plain cross-entropy, a mean in nats: no smoothing, weights or penalties.
        top1: share of the images whose class is ranked first.
        top1_ci95: its 95 % Wilson interval.
        top5: share of the images whose class is among the first five; None up to five classes.
        classes: names, in the order of the probabilities.
        confusion_matrix: rows are the true classes, columns the predicted ones, in the order of `classes`.
        per_class: figures of each class, in the order of `classes`.
    """

    n: int
    loss: float
    top1: float
    top1_ci95: tuple[float, float]
    top5: float | None
    classes: tuple[str, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    per_class: tuple[ClassMetrics, ...]

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Metrics:
        """What `to_dict` gave."""
        classes = tuple(facts["classes"])
        low, high = facts["top1_ci95"]
        return cls(
            n=facts["n"],
            loss=facts["loss"],
            top1=facts["top1"],
            top1_ci95=(low, high),
            top5=facts.get("top5"),
            classes=classes,
            confusion_matrix=tuple(tuple(row) for row in facts["confusion_matrix"]),
            per_class=tuple(ClassMetrics(**facts["per_class"][name]) for name in classes),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; `top5` only where it has a value, `per_class` by name."""
        return {
            "n": self.n,
            "loss": self.loss,
            "top1": self.top1,
            "top1_ci95": list(self.top1_ci95),
            **({} if self.top5 is None else {"top5": self.top5}),
            "classes": list(self.classes),
            "confusion_matrix": [list(row) for row in self.confusion_matrix],
            "per_class": {name: asdict(figures) for name, figures in zip(self.classes, self.per_class, strict=True)},
        }


def evaluate_scores(
    probabilities: NDArray[Any],
    labels: NDArray[Any],
    classes: Sequence[str],
    *,
    loss: float | None = None,
    ranking: NDArray[Any] | None = None,
) -> Metrics:
    """The figures of a classifier on some images.

    Args:
        probabilities: (n, classes), 0-1.
        labels: (n,) indexes into `classes`; a class may have no image.
        classes: names, in the order of the probabilities.
        loss: the mean plain loss where it is known exactly, from logits; default: from the probabilities.
        ranking: (n, classes) scores that rank the classes where probabilities saturate; default: the probabilities.

    Raises:
        DataError: no images, or scores that are not numbers.
    """
    scores, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    _check(scores, truth, classes)
    ranked = scores if ranking is None else np.asarray(ranking, np.float64)
    matrix = _confusion_matrix(truth, ranked.argmax(axis=1), len(classes))
    n, right = len(truth), int(np.trace(matrix))
    return Metrics(
        n=n,
        loss=cross_entropy(scores, truth) if loss is None else float(loss),
        top1=right / n,
        top1_ci95=wilson_interval(right, n),
        top5=float(np.mean(_ranks(ranked, truth) < TOP_K)) if len(classes) > TOP_K else None,
        classes=tuple(classes),
        confusion_matrix=tuple(tuple(int(count) for count in row) for row in matrix),
        per_class=tuple(_class_metrics(matrix, k) for k in range(len(classes))),
    )


def _check(scores: NDArray[np.float64], truth: NDArray[np.int64], classes: Sequence[str]) -> None:
    if scores.shape != (len(truth), len(classes)) or truth.ndim != 1:
        raise ValueError(f"{scores.shape} probabilities for {truth.shape} labels and {len(classes)} classes")
    if not len(truth):
        raise DataError("there are no images to evaluate")
    if truth.min() < 0 or truth.max() >= len(classes):
        raise ValueError(f"labels reach from {truth.min()} to {truth.max()}, there are {len(classes)} classes")
    broken = int((~np.isfinite(scores)).any(axis=1).sum())
    if broken:
        raise DataError(
            f"the scores of {broken:,} of {len(truth):,} images are not numbers: "
            "the weights of this classifier hold NaN or infinities; train it again with a lower learning rate"
        )


def cross_entropy(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean of −log of the true class's probability, in nats; probabilities below `SMALLEST_PROBABILITY` are raised."""
    true = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(true, SMALLEST_PROBABILITY)).mean())


def wilson_interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a share k/n, without continuity correction.

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209; R. G. Newcombe, Stat. Med. 17 (1998) 857, method 3.

    >>> [round(end, 4) for end in wilson_interval(81, 263)]
    [0.2553, 0.3662]
    """
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"{k} of {n} is no share")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = k / n
    middle = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # The ends of 0 and n are exact; rounding would leave them a hair off.
    return (0.0 if k == 0 else (middle - reach) / scale, 1.0 if k == n else (middle + reach) / scale)


def _confusion_matrix(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def _ranks(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many classes come before the true one, for each image."""
    true = scores[np.arange(len(truth)), truth][:, None]
    before = np.arange(scores.shape[1])[None] < truth[:, None]
    return np.asarray(((scores > true) | ((scores == true) & before)).sum(axis=1))


def _class_metrics(matrix: NDArray[np.int64], k: int) -> ClassMetrics:
    right, called, are = int(matrix[k, k]), int(matrix[:, k].sum()), int(matrix[k].sum())
    return ClassMetrics(_share(right, called), _share(right, are), _share(2 * right, called + are), are)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
