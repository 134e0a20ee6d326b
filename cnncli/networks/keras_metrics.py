"""Metrics of Keras, computed from the logits of a whole pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.metrics import KERAS_METRICS, KerasMetric
from cnncli.metrics.classification import label_probabilities, probabilities_of
from cnncli.metrics.losses import targets_of
from cnncli.networks.backend import import_keras


def compute_keras_metrics(
    names: Iterable[str], logits: NDArray[Any], labels: NDArray[Any], activation: str
) -> dict[str, float]:
    """Return metrics of Keras by name, with their default arguments, for the probabilities of the classes.

    Metrics of two classes that share one unit are those of the second class, unless the metric needs both. F-scores are
    means over the classes, and with several labels per image a label is predicted from a probability of 0.5 on.
    """
    is_multi_label = labels.ndim == 2
    probabilities = label_probabilities(logits) if is_multi_label else probabilities_of(logits, activation)
    return {name: _compute(KERAS_METRICS[name], probabilities, labels, logits.shape[1] == 1) for name in names}


def _compute(info: KerasMetric, probabilities: NDArray[Any], labels: NDArray[Any], is_one_unit: bool) -> float:
    keras, is_multi_label = import_keras(), labels.ndim == 2
    arguments: dict[str, Any] = {"average": "macro"} if info.is_averaged else {}
    if info.is_averaged and is_multi_label:
        arguments["threshold"] = 0.5
    if is_one_unit and not is_multi_label and not info.needs_classes:
        probabilities = probabilities[:, 1:]
    targets = targets_of(labels, probabilities.shape[1])
    truth = targets.argmax(axis=1) if info.takes_indices else targets
    metric = getattr(keras.metrics, info.class_name)(**arguments)
    metric.update_state(truth.astype(np.float32), probabilities.astype(np.float32))
    return float(np.mean(keras.ops.convert_to_numpy(metric.result())))
