"""The metrics that training reports and monitors, and that `evaluate` computes.

A new metric needs only an entry in `METRICS`; history.csv, TensorBoard, curves, `monitor` settings and `evaluate` use
the table. It does not import NumPy, so that a config can be read without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnncli.catalogue.metrics import KERAS_METRICS, MetricInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VALIDATION = "val_"
"""Prefix of the names of validation metrics, as in Keras."""
TEST = "test_"
"""Prefix of the names of test metrics."""
PREFIXES = {"validation": VALIDATION, "test": TEST, "training": ""}
"""Prefix of the metrics of each split."""
LAST = "last"
"""In place of a metric, to keep the last epoch instead of the best one."""
GOOD_ENOUGH = 0.99
"""Accuracy in 0-1 from which on no fine-tuning is suggested: the errors that are left are so few that a test of a
thousand images could hardly show that anything else makes fewer."""


@dataclass(frozen=True)
class Predictions:
    """Predictions for the `n` images of one pass.

    Attributes:
        loss: Mean plain loss, computed from the logits.
        n_correct: Number of images whose own class ranks first; mixed images count for both labels, in proportion.
        scores: Float (n, classes) with the ranking of the probabilities, which do not saturate.
        labels: Int64 (n,) class indices; for a mixed image, the label with the larger proportion.
    """

    n: int
    loss: float
    n_correct: float
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Metric(MetricInfo):
    """A metric of the table.

    Attributes:
        compute: Function that returns the value for the predictions of a pass.
        needs_scores: Whether `compute` reads `scores` and `labels`, which are empty if no metric does.
    """

    compute: Callable[[Predictions], float]
    needs_scores: bool = True


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("loss", lambda found: found.loss, lower_is_better=True, needs_scores=False),
        Metric("accuracy", lambda found: found.n_correct / found.n, is_fraction=True, needs_scores=False),
    )
}


EVALUATED: dict[str, MetricInfo] = {
    metric.name: metric
    for metric in (
        *(MetricInfo(name, is_fraction=True) for name in ("balanced_accuracy", "top3", "top5")),
        *(MetricInfo(name, is_fraction=True) for name in ("mean_average_precision", "micro_f1", "macro_f1", "roc_auc")),
        *(MetricInfo(name, lower_is_better=True) for name in ("log_loss", "brier_score")),
        MetricInfo("calibration_error", lower_is_better=True, is_fraction=True),
    )
}
"""Results that only the evaluation of a saved model has, in the order in which they are shown."""


def metric_named(name: str) -> MetricInfo | None:
    """Return the facts about a metric of the table or of Keras by its name, without the prefix `val_`, or None."""
    return METRICS.get(name) or KERAS_METRICS.get(name)


def split_of(metric: str) -> tuple[str, str]:
    """Return the split of a metric and its name in the table.

    >>> split_of("test_accuracy"), split_of("loss")
    (('test', 'accuracy'), ('training', 'loss'))
    """
    split, prefix = next(pair for pair in PREFIXES.items() if metric.startswith(pair[1]))
    return split, metric.removeprefix(prefix)


def find_metric(metric: str) -> MetricInfo | None:
    """Return a metric that runs can have by its name with the prefix of a split, or None."""
    _, name = split_of(metric)
    return EVALUATED.get(name) or metric_named(name)


def metric_of(metric: str) -> MetricInfo:
    """Return a metric that runs have by its name with the prefix of a split."""
    found = find_metric(metric)
    if found is None:  # names come from runs, or have been checked
        raise ValueError(metric)
    return found


def compute_metrics(predictions: Predictions) -> dict[str, float]:
    """Return every metric of the table, by name."""
    return {name: metric.compute(predictions) for name, metric in METRICS.items()}


def result_names() -> tuple[str, ...]:
    """Return the names of an epoch's results, training before validation."""
    return (*METRICS, *(VALIDATION + name for name in METRICS))


def monitors() -> tuple[str, ...]:
    """Return the names that a `monitor` setting accepts, validation before training."""
    return (*(VALIDATION + name for name in METRICS), *METRICS)


def keras_monitors() -> tuple[str, ...]:
    """Return the names of metrics of Keras that a `monitor` setting accepts."""
    names = [name for name in KERAS_METRICS if name not in METRICS]
    return (*(VALIDATION + name for name in names), *names)


def kept_epoch(monitor: str) -> str:
    """Return which epoch a run keeps, `last` or `best`, by its monitor of the best epoch."""
    return LAST if monitor == LAST else "best"


def as_validation(results: Mapping[str, float]) -> dict[str, float]:
    """Return results under the names of validation metrics."""
    return {VALIDATION + name: value for name, value in results.items()}


def is_better(monitor: str, value: float, than: float | None, min_delta: float = 0.0) -> bool:
    """Return whether a monitored value beats another one by more than `min_delta`. Any value beats None."""
    if than is None:
        return True
    metric = metric_named(monitor.removeprefix(VALIDATION))
    is_lower_better = metric is not None and metric.lower_is_better
    return value < than - min_delta if is_lower_better else value > than + min_delta
