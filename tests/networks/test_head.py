"""Heads are built as the config describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.networks.classifier import build_classifier
from tests.support.drawing import tiny_config


def _model(classes: int = 3, **head: Any) -> Any:
    return build_classifier(tiny_config(Path("unused"), head=head), classes).model


@pytest.mark.parametrize(("pooling", "features"), [("avg", 8), ("max", 8), ("flatten", 8 * 6 * 6)])
def test_pooling_decides_the_length_of_the_vector(pooling: str, features: int) -> None:
    """Feature maps of 6 × 6 × 8 are pooled to 8 values, or flattened to 288."""
    assert _model(pooling=pooling).get_layer("head_logits").kernel.shape == (features, 3)


def test_layers_come_in_their_order() -> None:
    """Layers are built in order, and named after their position so that reports can refer to them."""
    layers = [{"dense": 5, "activation": "tanh"}, {"batch_norm": True}, {"activation": "relu"}, {"dropout": 0.3}]
    names = [op.name for op in _model(layers=layers).operations if op.name.startswith("head_")]

    assert names == [
        "head_avg_pool",
        "head_dense_1",
        "head_batch_norm_2",
        "head_activation_3",
        "head_dropout_4",
        "head_logits",
        "head_probabilities",
    ]


@pytest.mark.parametrize(("classes", "units"), [(2, 1), (3, 3)])
def test_sigmoid_has_one_unit_for_two_classes(classes: int, units: int) -> None:
    """A sigmoid head has one unit for two classes, and one unit per class otherwise."""
    assert _model(classes, activation="sigmoid").output_shape == (None, units)


def test_a_linear_head_ends_in_logits() -> None:
    """A head without activation returns logits."""
    assert _model(activation="linear").operations[-1].name == "head_logits"


def test_penalties_belong_to_the_layers_that_name_them() -> None:
    """L1 and L2 penalties apply to the dense layer, or to the output, in which they are set."""
    model = _model(layers=[{"dense": 5, "l2": 0.01}], l1=0.02)

    assert model.get_layer("head_dense_1").kernel_regularizer.l2 == pytest.approx(0.01)
    assert model.get_layer("head_logits").kernel_regularizer.l1 == pytest.approx(0.02)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    """Initial weights depend only on the seed, and adding a layer does not change those of other layers."""

    def kernel(seed: int, *more: Any) -> np.ndarray:
        head = {"layers": [{"dense": 5}, *more]}
        model = build_classifier(tiny_config(Path("unused"), head=head, seed=seed), 3).model
        return np.asarray(model.get_layer("head_dense_1").kernel)

    assert (kernel(0) == kernel(0)).all()
    assert (kernel(0) == kernel(0, {"dense": 7})).all()
    assert (kernel(0) != kernel(1)).all()
