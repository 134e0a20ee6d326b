"""Evaluate a classifier from its logits: probabilities, loss, metrics, confidence interval, per-class results.

Of equal scores, the class that comes first ranks higher, as in NumPy's `argmax`. A metric with a zero denominator (the
recall of a class without images) is 0, as with scikit-learn's `zero_division=0`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.losses import CROSS_ENTROPY
from cnncli.catalogue.metrics import KERAS_METRICS
from cnncli.errors import DataError, Message
from cnncli.metrics.curves import Ranking, mean_of
from cnncli.metrics.losses import OWN_LOSSES, targets_of
from cnncli.metrics.multilabel import LabelMetrics, best_threshold, evaluate_labels, ratio
from cnncli.metrics.reliability import Reliability, ReliabilityBin, measure_reliability
from cnncli.metrics.table import EVALUATED, METRICS, Predictions, compute_metrics

TOP_K = (3, 5)
"""Numbers of classes of the top-k accuracies, which are reported if there are more classes."""
_JSON_NAMES = {"accuracy": "top1"}
"""JSON names of metrics that have a different name in the table."""
MOST_PAIRS = 20
"""Maximum number of confused pairs in a document."""


@dataclass(frozen=True)
class ClassMetrics:
    """Results of a class on `n` images, its support; all values are 0-1. See also `LabelMetrics`.

    Attributes:
        average_precision: Mean precision over the ranking of all images by the probability of the class; None without
            an image of it.
    """

    precision: float
    recall: float
    f1: float
    n: int
    average_precision: float | None = None


@dataclass(frozen=True)
class ConfusedPair:
    """A class of which `n` images, the fraction `fraction` of its images, were predicted as another class."""

    label: str
    prediction: str
    n: int
    fraction: float


@dataclass(frozen=True)
class Metrics:
    """Results of a classifier on `n` images.

    Attributes:
        values: The metrics of `cnncli.metrics.table`, and those of Keras that the run names, by name.
        top1_ci95: 95 % Wilson interval of `top1`.
        classes: Names, in the order of the logits.
        confusion_matrix: Rows are true classes and columns predicted classes, in the order of `classes`; empty if
            multi-label.
        per_class: Results of each class, in the order of `classes`; if multi-label, at its threshold.
        evaluated: Further results, those of `EVALUATED` that apply, by name. Averages are over the classes that have
            images, that of F1 also over those that are predicted, as in scikit-learn; those of a multi-label
            classifier are described at `MultiLabelMetrics`.
        reliability: The reliability diagram of the probabilities.
    """

    n: int
    values: Mapping[str, float]
    top1_ci95: tuple[float, float]
    classes: tuple[str, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    per_class: tuple[ClassMetrics | LabelMetrics, ...]
    evaluated: Mapping[str, float] = field(default_factory=dict)
    reliability: tuple[ReliabilityBin, ...] = ()

    @property
    def loss(self) -> float:
        """Mean plain loss of the run's kind, by default cross-entropy in nats: no smoothing, weights or penalties."""
        return self.values["loss"]

    @property
    def top1(self) -> float:
        """Fraction of the images whose class ranks first; if multi-label, all of whose labels are right."""
        return self.values["accuracy"]

    @property
    def top5(self) -> float | None:
        """Fraction of the images whose class is among the top five; None for up to five classes."""
        return self.evaluated.get("top5")

    @property
    def is_multi_label(self) -> bool:
        """Whether an image can have any number of classes."""
        return not self.confusion_matrix

    @property
    def confused_pairs(self) -> tuple[ConfusedPair, ...]:
        """The pairs of true and predicted class with images, most images first; none if multi-label."""
        pairs = [
            ConfusedPair(label, prediction, count, ratio(count, sum(row)))
            for label, row in zip(self.classes, self.confusion_matrix, strict=False)
            for prediction, count in zip(self.classes, row, strict=True)
            if count and label != prediction
        ]
        return tuple(sorted(pairs, key=lambda pair: (-pair.n, -pair.fraction)))

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Metrics:
        """Return metrics from the result of `to_dict`."""
        low, high = facts["top1_ci95"]
        return cls(
            n=facts["n"],
            values=table_metrics(facts),
            top1_ci95=(low, high),
            classes=tuple(facts["classes"]),
            confusion_matrix=tuple(tuple(row) for row in facts.get("confusion_matrix", ())),
            per_class=tuple(_results(facts["per_class"][name]) for name in facts["classes"]),
            evaluated={name: facts[name] for name in EVALUATED if name in facts},
            reliability=tuple(ReliabilityBin(**one) for one in facts.get("reliability", ())),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics for JSON: `per_class` by name; confusion only if an image has one class."""
        confusion = {
            "confusion_matrix": list(map(list, self.confusion_matrix)),
            "confused_pairs": [asdict(pair) for pair in self.confused_pairs[:MOST_PAIRS]],
        }
        return {
            **self.summary(),
            "classes": list(self.classes),
            **({} if self.is_multi_label else confusion),
            "per_class": {name: asdict(results) for name, results in zip(self.classes, self.per_class, strict=True)},
            "reliability": [asdict(one) for one in self.reliability],
        }

    def summary(self) -> dict[str, Any]:
        """Return the key metrics, as in run.json and `train --json`."""
        values = {_JSON_NAMES.get(name, name): value for name, value in self.values.items()}
        return {"n": self.n, **values, "top1_ci95": list(self.top1_ci95), **self.evaluated}


def _results(facts: Mapping[str, Any]) -> ClassMetrics | LabelMetrics:
    return LabelMetrics(**facts) if "threshold" in facts else ClassMetrics(**facts)


def table_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of the table from a `Metrics.summary`, by their names in the table, if it has them."""
    names = {name: _JSON_NAMES.get(name, name) for name in (*METRICS, *KERAS_METRICS)}
    return {name: float(summary[key]) for name, key in names.items() if key in summary}


def plain_losses(
    logits: NDArray[Any], labels: NDArray[Any], activation: str, loss: str = CROSS_ENTROPY
) -> NDArray[np.float64]:
    """Return the exact loss (n,) of each image, without smoothing, class weights or penalties.

    `loss` is one of `OWN_LOSSES` or cross-entropy, in nats; for `sigmoid` that is the binary cross-entropy, averaged
    over the units as Keras does.
    """
    z = logits.astype(np.float64)
    if loss != CROSS_ENTROPY:
        return np.asarray(OWN_LOSSES[loss](np, z, targets_of(labels, z.shape[1]), activation))
    if activation != "sigmoid":
        return np.asarray(np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), labels])
    if labels.ndim == 2:
        target = labels
    else:
        target = labels[:, None] if z.shape[1] == 1 else np.arange(z.shape[1])[None] == labels[:, None]
    return np.asarray(np.mean(np.logaddexp(0.0, z) - z * target, axis=1))


def evaluate_logits(
    logits: NDArray[Any],
    labels: NDArray[Any],
    classes: Sequence[str],
    activation: str,
    thresholds: Sequence[float] = (),
    losses_of: Callable[[NDArray[Any], NDArray[Any], str], NDArray[np.float64]] = plain_losses,
) -> Metrics:
    """Evaluate a classifier on some images.

    Args:
        logits: (n, units), any float dtype; at least one image.
        labels: (n,) indices into `classes`, or 0 and 1, (n, classes), if multi-label; a class may have no image.
        classes: Names, in the order of the logits.
        activation: Activation of the head, see `probabilities_of`.
        thresholds: Probability from which on each label of a multi-label classifier is predicted.
        losses_of: Function that returns the loss of each image (n,) for logits, labels and activation.

    Raises:
        DataError: Some logits are NaN or Inf.
    """
    n, n_broken = len(labels), int((~np.isfinite(logits)).any(axis=1).sum())
    if n_broken:
        text = f"The scores of {n_broken:,} of {n:,} images are NaN or Inf. Train again with a lower learning rate."
        raise DataError(Message("metrics-not-finite", text, received=n_broken, n_images=n))
    loss = float(losses_of(logits, labels, activation).mean())
    if labels.ndim == 2:
        return _evaluate_labels(logits, labels, classes, thresholds, loss)
    scores = ranking_scores(logits, activation)
    pairs = np.bincount(labels * len(classes) + scores.argmax(axis=1), minlength=len(classes) ** 2)
    matrix = pairs.reshape(len(classes), len(classes))
    n_correct = int(np.trace(matrix))
    probabilities = probabilities_of(logits, activation)
    rankings = [Ranking.of(probabilities[:, place], labels == place) for place in range(len(classes))]
    per_class = _class_metrics(matrix, rankings)
    reliability = measure_reliability(probabilities, labels)
    ranks = _ranks(scores, labels)
    evaluated = {
        "balanced_accuracy": mean_of([one.recall for one in per_class if one.n]),
        **{f"top{k}": float(np.mean(ranks < k)) for k in TOP_K if len(classes) > k},
        "mean_average_precision": mean_of([ranking.average_precision for ranking in rankings]),
        "macro_f1": mean_of(
            [one.f1 for one, chosen in zip(per_class, matrix.sum(axis=0), strict=True) if one.n + chosen]
        ),
        "roc_auc": mean_of([ranking.roc_auc for ranking in rankings]),
        **_scores_of(reliability),
    }
    return Metrics(
        n=n,
        values=compute_metrics(Predictions(n, loss, n_correct, scores, labels)),
        top1_ci95=wilson_interval(n_correct, n),
        classes=tuple(classes),
        confusion_matrix=tuple(tuple(row) for row in matrix.tolist()),
        per_class=per_class,
        evaluated={name: value for name, value in evaluated.items() if value is not None},
        reliability=reliability.bins,
    )


def _class_metrics(matrix: NDArray[np.int64], rankings: Sequence[Ranking]) -> tuple[ClassMetrics, ...]:
    """Return the results of each class from the confusion matrix and the ranking of the images by its probability."""
    counts = (matrix.diagonal().tolist(), matrix.sum(axis=0).tolist(), matrix.sum(axis=1).tolist())
    return tuple(
        ClassMetrics(
            *(ratio(hits, predicted), ratio(hits, true), ratio(2 * hits, predicted + true)),
            true,
            ranking.average_precision,
        )
        for hits, predicted, true, ranking in zip(*counts, rankings, strict=True)
    )


def _scores_of(found: Reliability) -> dict[str, float]:
    return {name: getattr(found, name) for name in ("log_loss", "brier_score", "calibration_error")}


def _evaluate_labels(
    logits: NDArray[Any], labels: NDArray[np.uint8], classes: Sequence[str], thresholds: Sequence[float], loss: float
) -> Metrics:
    """Evaluate a multi-label classifier."""
    n, probabilities = len(labels), label_probabilities(logits)
    found, reliability = evaluate_labels(probabilities, labels, thresholds), measure_reliability(probabilities, labels)
    averages = {name: getattr(found, name) for name in ("mean_average_precision", "micro_f1", "macro_f1")}
    auc = mean_of([Ranking.of(probabilities[:, one], labels[:, one] > 0).roc_auc for one in range(len(classes))])
    return Metrics(
        n=n,
        values={"loss": loss, "accuracy": found.n_exact / n},
        top1_ci95=wilson_interval(found.n_exact, n),
        classes=tuple(classes),
        confusion_matrix=(),
        per_class=found.per_label,
        evaluated={**averages, **({} if auc is None else {"roc_auc": auc}), **_scores_of(reliability)},
        reliability=reliability.bins,
    )


def choose_thresholds(logits: NDArray[Any], labels: NDArray[np.uint8]) -> tuple[float, ...]:
    """Return the threshold of each label with the highest F1; see `best_threshold`."""
    columns = zip(label_probabilities(logits).T, labels.T > 0, strict=True)
    return tuple(best_threshold(scores, positive) for scores, positive in columns)


def label_probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return the independent probability of each label, float64 (n, labels), for logits of that shape."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits.astype(np.float64))))


def probabilities_of(logits: NDArray[Any], activation: str) -> NDArray[np.float64]:
    """Return the class probabilities of logits.

    Args:
        logits: (n, units), any float dtype.
        activation: Activation of the head. `softmax` and `linear` distribute the probability over the classes.
            `sigmoid` with one unit is the probability of the second of two classes; with several units, the
            probabilities are independent.

    Returns:
        Float64 (n, classes) in 0-1.
    """
    z = logits.astype(np.float64)
    if activation != "sigmoid":
        return np.asarray(np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True)))
    positive = label_probabilities(z)
    if z.shape[1] > 1:
        return np.asarray(positive)
    return np.concatenate([np.exp(-np.logaddexp(0.0, z)), positive], axis=1)


def ranking_scores(logits: NDArray[Any], activation: str) -> NDArray[np.float64]:
    """Return scores (n, classes) with the ranking of the probabilities, which do not saturate at 1."""
    z = logits.astype(np.float64)
    return np.concatenate([-z, z], axis=1) if activation == "sigmoid" and z.shape[1] == 1 else z


def are_correct(logits: NDArray[Any], labels: NDArray[Any], activation: str) -> NDArray[np.bool_]:
    """Return for each image whether its class ranks first, or all of its labels are right at a probability of 0.5."""
    if labels.ndim == 2:
        return np.asarray(((logits > 0) == (labels > 0)).all(axis=1))
    return np.asarray(ranking_scores(logits, activation).argmax(axis=1) == labels)


def wilson_interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a fraction k/n, without continuity correction.

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209; R. G. Newcombe, Stat. Med. 17 (1998) 857, method 3.

    >>> [round(end, 4) for end in wilson_interval(81, 263)]
    [0.2553, 0.3662]
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    fraction = k / n
    center = fraction + z * z / (2 * n)
    half_width = z * math.sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # The ends of 0 and n are exact; rounding would leave them slightly off.
    return (0.0 if k == 0 else (center - half_width) / scale, 1.0 if k == n else (center + half_width) / scale)


def accuracy_interval(accuracy: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of the accuracy of n predictions, NaN if it was not measured."""
    return (math.nan, math.nan) if math.isnan(accuracy) else wilson_interval(round(accuracy * n), n)


def bin_interval(one: ReliabilityBin) -> tuple[float, float]:
    """Return the 95 % interval of the accuracy in a bin with at least one prediction."""
    return accuracy_interval(one.accuracy, one.n)


def _ranks(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each image the number of classes that rank above the true one."""
    true = scores[np.arange(len(truth)), truth][:, None]
    before = np.arange(scores.shape[1])[None] < truth[:, None]
    return np.asarray(((scores > true) | ((scores == true) & before)).sum(axis=1))
