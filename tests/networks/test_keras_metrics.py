"""Metrics of Keras by name: the catalogue, and values as scikit-learn computes them."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from cnncli.catalogue.metrics import KERAS_METRICS
from cnncli.metrics.classification import probabilities_of
from cnncli.networks.backend import import_keras
from cnncli.networks.keras_metrics import compute_keras_metrics

RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.normal(size=(40, 3)).astype(np.float32), RNG.integers(0, 3, 40)
NOT_OFFERED = {
    *("Metric", "Mean", "Sum", "MeanMetricWrapper", "Accuracy"),
    *("ConcordanceCorrelation", "PearsonCorrelation"),
    *("IoU", "BinaryIoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU"),
    *("PrecisionAtRecall", "RecallAtPrecision", "SensitivityAtSpecificity", "SpecificityAtSensitivity"),
}


def test_catalogue_is_every_metric_of_keras() -> None:
    """Metrics of segmentation, and those with arguments that have no default, are left out. Row 114."""
    public = {name for name, thing in vars(import_keras().metrics).items() if inspect.isclass(thing)}
    assert {info.class_name for info in KERAS_METRICS.values()} == public - NOT_OFFERED


@pytest.mark.parametrize(("activation", "units"), [("softmax", 3), ("sigmoid", 1), ("linear", 3)])
def test_every_metric_is_a_number(activation: str, units: int) -> None:
    """For every activation of the head, and for several labels per image."""
    logits, labels = LOGITS[:, :units], LABELS % max(units, 2)
    found = compute_keras_metrics(KERAS_METRICS, logits, labels, activation)
    assert list(found) == list(KERAS_METRICS)
    assert np.isfinite(list(found.values())).all()
    several = compute_keras_metrics(KERAS_METRICS, LOGITS, RNG.integers(0, 2, (40, 3)).astype(np.uint8), "sigmoid")
    assert np.isfinite(list(several.values())).all()


def test_scores_of_classes_equal_scikit_learns() -> None:
    """Macro F1, accuracy, top-5 and cross-entropy of three classes. Row 115."""
    predicted, probabilities = LOGITS.argmax(axis=1), probabilities_of(LOGITS, "softmax")
    names = ("f1_score", "categorical_accuracy", "categorical_crossentropy", "top_k_categorical_accuracy")
    found = compute_keras_metrics(names, LOGITS, LABELS, "softmax")
    assert found["f1_score"] == pytest.approx(sklearn_metrics.f1_score(LABELS, predicted, average="macro"), abs=1e-6)
    assert found["categorical_accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(LABELS, predicted))
    assert found["categorical_crossentropy"] == pytest.approx(sklearn_metrics.log_loss(LABELS, probabilities), rel=1e-5)
    assert found["top_k_categorical_accuracy"] == 1.0


def test_metrics_of_one_sigmoid_are_those_of_the_second_class() -> None:
    """Precision, recall and AUC equal scikit-learn's; AUC is approximated with 200 thresholds."""
    logits, labels = LOGITS[:, :1], LABELS % 2
    predicted = (logits[:, 0] > 0).astype(int)
    found = compute_keras_metrics(("precision", "recall", "auc", "f1_score"), logits, labels, "sigmoid")
    assert found["precision"] == pytest.approx(sklearn_metrics.precision_score(labels, predicted))
    assert found["recall"] == pytest.approx(sklearn_metrics.recall_score(labels, predicted))
    assert found["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(labels, logits[:, 0]), abs=0.01)
    assert found["f1_score"] == pytest.approx(sklearn_metrics.f1_score(labels, predicted, average="macro"), abs=1e-6)


def test_f1_of_several_labels_is_at_a_probability_of_one_half() -> None:
    """It is the mean over the labels."""
    labels = RNG.integers(0, 2, (40, 3)).astype(np.uint8)
    found = compute_keras_metrics(["f1_score"], LOGITS, labels, "sigmoid")
    expected = sklearn_metrics.f1_score(labels, LOGITS > 0, average="macro")
    assert found["f1_score"] == pytest.approx(expected, abs=1e-6)
