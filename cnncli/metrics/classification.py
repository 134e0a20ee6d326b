"""The evaluation of a classifier from its probabilities: metrics, confidence interval, results per class.

Ties: among equal probabilities the class that comes first ranks higher, as in NumPy's `argmax`. A metric with a zero
denominator (the recall of a class without images) is 0, as with scikit-learn's `zero_division=0`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import DataError, Message
from cnncli.metrics.table import METRICS, Predictions, compute_metrics

SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)
"""Smaller probabilities are raised to this (1.2e-38, a loss of 87.3): float32 cannot tell less from zero."""

TOP_K = 5
_NAMED = {"loss": "loss", "accuracy": "top1"}
"""Metrics of the table that have a field of their own in `Metrics`."""


@dataclass(frozen=True)
class ClassMetrics:
    """Results of one class, each 0-1.

    Attributes:
        precision: Fraction of the images predicted as this class that belong to it.
        recall: Fraction of the images of this class that are predicted as such.
        f1: Harmonic mean of precision and recall.
        n: Number of images of this class.
    """

    precision: float
    recall: float
    f1: float
    n: int


@dataclass(frozen=True)
class Metrics:
    """Results of a classifier on some images.

    Attributes:
        n: Number of images.
        loss: Plain cross-entropy, mean in nats, without smoothing, weights or penalties.
        top1: Fraction of the images whose class ranks first.
        top1_ci95: Its 95 % Wilson interval.
        top5: Fraction of the images whose class is among the first five; None for up to five classes.
        classes: Names, in the order of the probabilities.
        confusion_matrix: Rows are true classes, columns predicted ones, in the order of `classes`.
        per_class: Results of each class, in the order of `classes`.
        others: The other metrics of `cnncli.metrics.table`, by name.
    """

    n: int
    loss: float
    top1: float
    top1_ci95: tuple[float, float]
    top5: float | None
    classes: tuple[str, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    per_class: tuple[ClassMetrics, ...]
    others: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Metrics:
        """Return the metrics that `to_dict` made."""
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
            others={name: facts[name] for name in METRICS if name not in _NAMED and name in facts},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics for JSON: `top5` only if it has a value, `per_class` by name."""
        return {
            **self.summary(),
            **({} if self.top5 is None else {"top5": self.top5}),
            "classes": list(self.classes),
            "confusion_matrix": [list(row) for row in self.confusion_matrix],
            "per_class": {name: asdict(results) for name, results in zip(self.classes, self.per_class, strict=True)},
        }

    def summary(self) -> dict[str, Any]:
        """Return the key metrics, which run.json and `train --json` have too."""
        summary = {"n": self.n, "loss": self.loss, "top1": self.top1, "top1_ci95": list(self.top1_ci95)}
        return {**summary, **self.others}


def table_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of the table from a `Metrics.summary`, by their names there; those it lacks are left out."""
    names = {name: _NAMED.get(name, name) for name in METRICS}
    return {name: float(summary[key]) for name, key in names.items() if key in summary}


def evaluate_scores(
    probabilities: NDArray[Any],
    labels: NDArray[Any],
    classes: Sequence[str],
    *,
    loss: float | None = None,
    ranking: NDArray[Any] | None = None,
) -> Metrics:
    """Evaluate a classifier on some images.

    Args:
        probabilities: (n, classes), 0-1.
        labels: (n,) indices into `classes`; a class may have no image.
        classes: Names, in the order of the probabilities.
        loss: Mean plain loss if it is known exactly, from logits; default: from the probabilities.
        ranking: (n, classes) scores that rank the classes even if probabilities saturate; default: the probabilities.

    Raises:
        DataError: There are no images, or some scores are NaN or Inf.
    """
    scores, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    _check(scores, truth, classes)
    ranked = scores if ranking is None else np.asarray(ranking, np.float64)
    matrix = _confusion_matrix(truth, ranked.argmax(axis=1), len(classes))
    n, n_correct = len(truth), int(np.trace(matrix))
    mean_loss = cross_entropy(scores, truth) if loss is None else float(loss)
    values = compute_metrics(Predictions(n, mean_loss, n_correct, ranked, truth))
    return Metrics(
        n=n,
        loss=values["loss"],
        top1=values["accuracy"],
        top1_ci95=wilson_interval(n_correct, n),
        top5=float(np.mean(_ranks(ranked, truth) < TOP_K)) if len(classes) > TOP_K else None,
        classes=tuple(classes),
        confusion_matrix=tuple(tuple(int(count) for count in row) for row in matrix),
        per_class=tuple(_class_metrics(matrix, k) for k in range(len(classes))),
        others={name: value for name, value in values.items() if name not in _NAMED},
    )


def _check(scores: NDArray[np.float64], truth: NDArray[np.int64], classes: Sequence[str]) -> None:
    if scores.shape != (len(truth), len(classes)) or truth.ndim != 1:
        raise ValueError(f"{scores.shape} probabilities for {truth.shape} labels and {len(classes)} classes")
    if not len(truth):
        raise DataError(Message("metrics-no-images", "There are no images to evaluate."))
    if truth.min() < 0 or truth.max() >= len(classes):
        raise ValueError(f"labels range from {truth.min()} to {truth.max()}, but there are {len(classes)} classes")
    n_broken = int((~np.isfinite(scores)).any(axis=1).sum())
    if n_broken:
        raise DataError(
            Message(
                "metrics-not-finite",
                f"The scores of {n_broken:,} of {len(truth):,} images are NaN or Inf, as are weights of this "
                "classifier. Train it again with a lower learning rate.",
                received=n_broken,
                n_images=len(truth),
            )
        )


def cross_entropy(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the mean of −log of the true class's probability, in nats, with `SMALLEST_PROBABILITY` as a minimum."""
    true = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(true, SMALLEST_PROBABILITY)).mean())


def wilson_interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a fraction k/n, without continuity correction.

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209; R. G. Newcombe, Stat. Med. 17 (1998) 857, method 3.

    >>> [round(end, 4) for end in wilson_interval(81, 263)]
    [0.2553, 0.3662]
    """
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"{k} of {n} is not a fraction")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    fraction = k / n
    center = fraction + z * z / (2 * n)
    half_width = z * math.sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # The ends of 0 and n are exact; rounding would leave them slightly off.
    return (0.0 if k == 0 else (center - half_width) / scale, 1.0 if k == n else (center + half_width) / scale)


def _confusion_matrix(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def _ranks(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each image the number of classes that rank before the true one."""
    true = scores[np.arange(len(truth)), truth][:, None]
    before = np.arange(scores.shape[1])[None] < truth[:, None]
    return np.asarray(((scores > true) | ((scores == true) & before)).sum(axis=1))


def _class_metrics(matrix: NDArray[np.int64], k: int) -> ClassMetrics:
    n_correct, n_predicted, n_true = int(matrix[k, k]), int(matrix[:, k].sum()), int(matrix[k].sum())
    f1 = _ratio(2 * n_correct, n_predicted + n_true)
    return ClassMetrics(_ratio(n_correct, n_predicted), _ratio(n_correct, n_true), f1, n_true)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
