"""Properties of metrics that do not depend on data, and the metrics of Keras 3.15 that a config can name.

Omitted are metrics of segmentation (IoU), those with arguments that have no default (such as PrecisionAtRecall),
Accuracy, which compares for equality, correlations, which are undefined for images without labels, and Mean and Sum,
which need no labels. A test compares the rest with Keras. Does not import TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cnncli.terminal.formatting import decimal, percent


@dataclass(frozen=True)
class MetricInfo:
    """Facts about a metric.

    Attributes:
        name: Name in history.csv and the config; for validation images, it has the prefix `val_` there.
        lower_is_better: Direction of improvement.
        is_fraction: Whether values are in 0-1 and shown as percentages.
    """

    name: str
    lower_is_better: bool = field(default=False, kw_only=True)
    is_fraction: bool = field(default=False, kw_only=True)

    def text(self, value: float) -> str:
        """Format a value for the terminal."""
        return percent(value) if self.is_fraction else decimal(value)


@dataclass(frozen=True)
class KerasMetric(MetricInfo):
    """A metric of Keras.

    Attributes:
        class_name: Name in keras.metrics.
        takes_indices: Whether Keras's class takes class indices.
        needs_classes: Whether it needs a probability of each class, also of two classes that share one unit.
        is_averaged: Whether it is averaged over the classes (`average="macro"`).
    """

    class_name: str
    takes_indices: bool = False
    needs_classes: bool = False
    is_averaged: bool = False


_METRICS = (
    KerasMetric("auc", "AUC", is_fraction=True),
    KerasMetric("precision", "Precision", is_fraction=True),
    KerasMetric("recall", "Recall", is_fraction=True),
    KerasMetric("f1_score", "F1Score", is_fraction=True, needs_classes=True, is_averaged=True),
    KerasMetric("fbeta_score", "FBetaScore", is_fraction=True, needs_classes=True, is_averaged=True),
    KerasMetric("binary_accuracy", "BinaryAccuracy", is_fraction=True),
    KerasMetric("categorical_accuracy", "CategoricalAccuracy", is_fraction=True, needs_classes=True),
    KerasMetric(
        "sparse_categorical_accuracy",
        "SparseCategoricalAccuracy",
        is_fraction=True,
        takes_indices=True,
        needs_classes=True,
    ),
    KerasMetric("top_k_categorical_accuracy", "TopKCategoricalAccuracy", is_fraction=True, needs_classes=True),
    KerasMetric(
        "sparse_top_k_categorical_accuracy",
        "SparseTopKCategoricalAccuracy",
        is_fraction=True,
        takes_indices=True,
        needs_classes=True,
    ),
    KerasMetric("true_positives", "TruePositives"),
    KerasMetric("true_negatives", "TrueNegatives"),
    KerasMetric("false_positives", "FalsePositives", lower_is_better=True),
    KerasMetric("false_negatives", "FalseNegatives", lower_is_better=True),
    KerasMetric("cosine_similarity", "CosineSimilarity"),
    KerasMetric("r2_score", "R2Score"),
    KerasMetric("mean_squared_error", "MeanSquaredError", lower_is_better=True),
    KerasMetric("root_mean_squared_error", "RootMeanSquaredError", lower_is_better=True),
    KerasMetric("mean_absolute_error", "MeanAbsoluteError", lower_is_better=True),
    KerasMetric("mean_absolute_percentage_error", "MeanAbsolutePercentageError", lower_is_better=True),
    KerasMetric("mean_squared_logarithmic_error", "MeanSquaredLogarithmicError", lower_is_better=True),
    KerasMetric("log_cosh_error", "LogCoshError", lower_is_better=True),
    KerasMetric("hinge", "Hinge", lower_is_better=True),
    KerasMetric("squared_hinge", "SquaredHinge", lower_is_better=True),
    KerasMetric("categorical_hinge", "CategoricalHinge", lower_is_better=True, needs_classes=True),
    KerasMetric("kl_divergence", "KLDivergence", lower_is_better=True, needs_classes=True),
    KerasMetric("poisson", "Poisson", lower_is_better=True),
    KerasMetric("binary_crossentropy", "BinaryCrossentropy", lower_is_better=True),
    KerasMetric("categorical_crossentropy", "CategoricalCrossentropy", lower_is_better=True, needs_classes=True),
    KerasMetric(
        "sparse_categorical_crossentropy",
        "SparseCategoricalCrossentropy",
        lower_is_better=True,
        takes_indices=True,
        needs_classes=True,
    ),
)
KERAS_METRICS: Mapping[str, KerasMetric] = {metric.name: metric for metric in _METRICS}
"""Metrics by name, as in history.csv."""
