"""Statistics of layers: what they show, and that measuring changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.config.training_settings import OptimizerConfig
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import build_classifier
from cnncli.report.inspection import draw_inspection
from cnncli.runs.folder import RunFolder
from cnncli.runs.inspection import BINS, LayerStatistics, read_inspection, write_inspection
from cnncli.runs.records import RunWriter
from cnncli.training.inspection import Inspection
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.steps import TrainStep
from tests.support.drawing import tiny_config
from tests.training.contexts import context_for, train_in

STAGES = [{"name": "head", "epochs": 2}, {"name": "all", "unfreeze": "all", "epochs": 2}]


def _train(data: Path, folder: Path, **settings: Any) -> tuple[list[np.ndarray], RunFolder]:
    """Train with dropout and two stages; return the final weights and the run."""
    training = {"stages": STAGES, "batch_size": 8, **settings}
    config = tiny_config(data, head={"layers": [{"dense": 8}, {"dropout": 0.4}]}, training=training)
    classifier = build_classifier(config, 2)
    train_in(context_for(config, folder / "store"), classifier, folder / "run")
    return [weight.numpy() for weight in classifier.model.weights], RunFolder(folder / "run")


def _inspect(folder: Path, layers: list[Any], images: np.ndarray, units: int = 3) -> tuple[Any, tuple[Any, ...]]:
    """Return a network and the statistics of its initial weights for some images of class 0 and 1."""
    keras = import_keras()
    x = keras.Input(images.shape[1:])
    y = x
    for layer in layers:
        y = layer(y)
    model = keras.Model([x], keras.layers.Dense(units, name="logits")(y))
    step = TrainStep(model, build_optimizer(OptimizerConfig()), Objective("softmax", units))
    labels = np.arange(len(images)) % 2
    folder.mkdir(exist_ok=True)
    with RunWriter(RunFolder(folder)) as writer:
        Inspection(step, Objective("softmax", units), ([images], labels), "all", writer).begin(0)
    return model, read_inspection(RunFolder(folder).inspection)


def test_inspecting_changes_no_weight(data: Path, tmp_path: Path) -> None:
    """With and without `training.inspect`, the weights are the same, bit for bit."""
    plain, without = _train(data, tmp_path / "a")
    inspected, run = _train(data, tmp_path / "b", inspect=True)

    for one, other in zip(plain, inspected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not without.inspection.exists()
    rows = read_inspection(run.inspection)
    assert list(dict.fromkeys((row.stage, row.epoch) for row in rows)) == [
        *(("head", epoch) for epoch in range(3)),
        *(("all", epoch) for epoch in range(2, 5)),
    ]
    assert {row.layer for row in rows if row.stage == "head"} == {"head_dense_1", "head_logits"}
    assert {row.update_ratio == 0 for row in rows if row.epoch == 0} == {True}
    assert all(row.update_ratio for row in rows if row.update_ratio is not None and row.epoch in (1, 4))


def test_statistics_equal_those_of_numpy(tmp_path: Path) -> None:
    """Outputs, fractions and histogram of a ReLU layer, and its gradient by finite differences. Row 133, Row 141."""
    layers = import_keras().layers
    images = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
    model, rows = _inspect(tmp_path, [layers.Dense(9, activation="relu", bias_initializer="ones", name="one")], images)
    (row,) = (row for row in rows if row.layer == "one")
    kernel, bias = (weight.numpy() for weight in model.get_layer("one").weights)
    outputs = np.maximum(images @ kernel + bias, 0)

    assert (row.mean, row.std) == pytest.approx((outputs.mean(), outputs.std()), rel=1e-4)
    assert (row.low, row.high) == pytest.approx((outputs.min(), outputs.max()), rel=1e-4)
    assert row.zeros == pytest.approx((outputs == 0).mean())
    assert (len(row.histogram), sum(row.histogram)) == (BINS, outputs.size)
    assert row.histogram[0] >= (outputs == 0).sum() > 0
    assert row.weight_norm == pytest.approx(np.sqrt((kernel**2).sum() + (bias**2).sum()), rel=1e-4)
    assert row.saturated is None
    loss = import_keras().losses.SparseCategoricalCrossentropy(from_logits=True)
    slopes = []
    for weight, value in ((model.get_layer("one").kernel, kernel), (model.get_layer("one").bias, bias)):
        for place in np.ndindex(value.shape):
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[place] += sign * 1e-2
                weight.assign(moved)
                ends.append(float(loss(np.arange(16) % 2, model([images]))))
            weight.assign(value)
            slopes.append((ends[0] - ends[1]) / 2e-2)
    assert row.gradient_norm == pytest.approx(float(np.linalg.norm(slopes)), rel=0.03)


def test_gradients_are_those_of_a_training_step(tmp_path: Path) -> None:
    """Batch normalization uses the statistics of the batch, penalties count, and nothing of the network changes."""
    import tensorflow as tf

    keras = import_keras()
    images = np.random.default_rng(0).normal(3, 5, size=(16, 6)).astype(np.float32)
    layers = [
        part
        for name in ("one", "two", "three")
        for part in (
            keras.layers.Dense(20, kernel_regularizer=keras.regularizers.L2(0.1), name=name),
            keras.layers.BatchNormalization(name=f"{name}_bn"),
            keras.layers.ReLU(),
        )
    ]
    model, rows = _inspect(tmp_path, layers, images)
    moving = [weight.numpy() for layer in model.layers for weight in layer.non_trainable_weights]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        value = loss(np.arange(16) % 2, model([images], training=True)) + sum(model.losses)
    gradients = dict(
        zip(map(id, model.trainable_variables), tape.gradient(value, model.trainable_variables), strict=True)
    )

    for row in rows:
        own = [gradients[id(variable)].numpy() for variable in model.get_layer(row.layer).trainable_variables]
        if own:
            assert row.gradient_norm == pytest.approx(np.sqrt(sum((one**2).sum() for one in own)), rel=1e-4)
    assert {row.layer for row in rows} >= {"one", "two_bn", "three", "logits"}
    assert [set(np.unique(one)) for one in moving] == [{0.0}, {1.0}] * 3


def test_ten_layers_of_tanh_saturate_and_stop_the_gradient(tmp_path: Path) -> None:
    """With weights of standard deviation 1, nearly all outputs are −1 or 1; with 0.01, they vanish. Row 39, Row 134."""
    keras = import_keras()
    images = np.random.default_rng(0).normal(size=(32, 500)).astype(np.float32)
    found = {}
    for std in (1.0, 0.01):
        kernels = [keras.initializers.RandomNormal(stddev=std, seed=seed) for seed in range(10)]
        layers = [
            keras.layers.Dense(500, activation="tanh", kernel_initializer=kernel, name=f"tanh_{number}")
            for number, kernel in enumerate(kernels, start=1)
        ]
        _, rows = _inspect(tmp_path / str(std), layers, images)
        found[std] = {row.layer: row for row in rows}

    assert all(found[1.0][f"tanh_{number}"].saturated > 0.9 for number in range(1, 11))
    last = found[1.0]["tanh_10"]
    assert last.histogram[0] + last.histogram[-1] > 0.9 * sum(last.histogram)
    stds = [found[0.01][f"tanh_{number}"].std for number in range(1, 11)]
    assert stds == sorted(stds, reverse=True)
    assert stds[-1] < 1e-5
    first, last = (found[0.01][f"tanh_{number}"].gradient_norm for number in (1, 10))
    assert first < 1e-4 * last


def test_units_that_are_never_active_are_dead(tmp_path: Path) -> None:
    """A ReLU whose bias is far below zero is dead for every image; the others are not. Row 141."""
    layers = import_keras().layers
    bias = import_keras().initializers.Constant
    images = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
    stack = [
        layers.Dense(4, activation="relu", bias_initializer=bias([-1e3, 1.0, 1.0, 1.0]), name="one"),
        layers.Activation("sigmoid", name="two"),
    ]
    _, rows = _inspect(tmp_path, stack, images)

    assert [(row.layer, row.dead) for row in rows] == [("one", 0.25), ("two", 0.0), ("logits", 0.0)]
    assert rows[1].saturated is not None
    assert rows[1].gradient_norm is None


def test_the_file_returns_every_digit(tmp_path: Path) -> None:
    """Reading inspect.csv returns what was written, and a damaged file is refused."""
    rows = (LayerStatistics("all", 1, "a, b", 0.1, 1 / 3, -1.0, 2e-30, 0.0, 0.0, (1, 2), None, 1e-12, 3.0, None),)
    write_inspection(tmp_path / "inspect.csv", rows)

    assert read_inspection(tmp_path / "inspect.csv") == rows


@pytest.mark.parametrize("n_layers", [1, 30])
def test_any_number_of_layers_can_be_drawn(tmp_path: Path, n_layers: int) -> None:
    """Statistics of one and of many layers are drawn, also if they are all zero."""
    rows = [
        LayerStatistics(
            "all", epoch, f"layer{n}", 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, (9, *[0] * (BINS - 1)), 0.5, 0.0, 1.0, 0.0
        )
        for epoch in (0, 1)
        for n in range(n_layers)
    ]
    draw_inspection(rows, tmp_path / "inspect.png")

    assert (tmp_path / "inspect.png").stat().st_size > 1000
