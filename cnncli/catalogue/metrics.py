"""Metrics of Keras 3.15 that a config can name. Does not import TensorFlow.

Omitted are metrics of segmentation (IoU), those with arguments that have no default (such as PrecisionAtRecall),
Accuracy, which compares for equality, correlations, which are undefined for images without labels, and Mean and Sum,
which need no labels. A test compares the rest with Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class MetricInfo:
    """Facts about a metric.

    Attributes:
        class_name: Name in keras.metrics.
        is_fraction: Whether values are in 0-1 and shown as percentages.
        lower_is_better: Direction of improvement.
        takes_indices: Whether Keras's class takes class indices.
        needs_classes: Whether it needs a probability of each class, also of two classes that share one unit.
        is_averaged: Whether it is averaged over the classes (`average="macro"`).
    """

    class_name: str
    is_fraction: bool = False
    lower_is_better: bool = False
    takes_indices: bool = False
    needs_classes: bool = False
    is_averaged: bool = False


KERAS_METRICS: Mapping[str, MetricInfo] = {
    "auc": MetricInfo("AUC", is_fraction=True),
    "precision": MetricInfo("Precision", is_fraction=True),
    "recall": MetricInfo("Recall", is_fraction=True),
    "f1_score": MetricInfo("F1Score", is_fraction=True, needs_classes=True, is_averaged=True),
    "fbeta_score": MetricInfo("FBetaScore", is_fraction=True, needs_classes=True, is_averaged=True),
    "binary_accuracy": MetricInfo("BinaryAccuracy", is_fraction=True),
    "categorical_accuracy": MetricInfo("CategoricalAccuracy", is_fraction=True, needs_classes=True),
    "sparse_categorical_accuracy": MetricInfo(
        "SparseCategoricalAccuracy", True, takes_indices=True, needs_classes=True
    ),
    "top_k_categorical_accuracy": MetricInfo("TopKCategoricalAccuracy", is_fraction=True, needs_classes=True),
    "sparse_top_k_categorical_accuracy": MetricInfo(
        "SparseTopKCategoricalAccuracy", is_fraction=True, takes_indices=True, needs_classes=True
    ),
    "true_positives": MetricInfo("TruePositives"),
    "true_negatives": MetricInfo("TrueNegatives"),
    "false_positives": MetricInfo("FalsePositives", lower_is_better=True),
    "false_negatives": MetricInfo("FalseNegatives", lower_is_better=True),
    "cosine_similarity": MetricInfo("CosineSimilarity"),
    "r2_score": MetricInfo("R2Score"),
    "mean_squared_error": MetricInfo("MeanSquaredError", lower_is_better=True),
    "root_mean_squared_error": MetricInfo("RootMeanSquaredError", lower_is_better=True),
    "mean_absolute_error": MetricInfo("MeanAbsoluteError", lower_is_better=True),
    "mean_absolute_percentage_error": MetricInfo("MeanAbsolutePercentageError", lower_is_better=True),
    "mean_squared_logarithmic_error": MetricInfo("MeanSquaredLogarithmicError", lower_is_better=True),
    "log_cosh_error": MetricInfo("LogCoshError", lower_is_better=True),
    "hinge": MetricInfo("Hinge", lower_is_better=True),
    "squared_hinge": MetricInfo("SquaredHinge", lower_is_better=True),
    "categorical_hinge": MetricInfo("CategoricalHinge", lower_is_better=True, needs_classes=True),
    "kl_divergence": MetricInfo("KLDivergence", lower_is_better=True, needs_classes=True),
    "poisson": MetricInfo("Poisson", lower_is_better=True),
    "binary_crossentropy": MetricInfo("BinaryCrossentropy", lower_is_better=True),
    "categorical_crossentropy": MetricInfo("CategoricalCrossentropy", lower_is_better=True, needs_classes=True),
    "sparse_categorical_crossentropy": MetricInfo(
        "SparseCategoricalCrossentropy", lower_is_better=True, takes_indices=True, needs_classes=True
    ),
}
"""Metrics by name, as in history.csv."""
