"""Penalties, moving averages, accumulated gradients and learning rates per layer equal those of plain Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.config.modes import stages_of
from cnncli.config.reader import config_from_mapping
from cnncli.config.training_settings import OptimizerConfig
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.steps import TrainStep
from cnncli.training.update import UpdateSettings, learning_rate_factors
from tests.support.drawing import draw_dataset, tiny_config
from tests.training.contexts import context_for, train_in

SGD = OptimizerConfig(name="sgd", learning_rate=0.05)
ADAM = OptimizerConfig(name="adam", learning_rate=0.01)
LAYERS = ("first", "norm", "second", "logits")
IMAGES = 20
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(IMAGES, 6)).astype(np.float32)
LABELS = (FEATURES @ RANDOM.normal(size=(6, 3))).argmax(axis=1).astype(np.int64)


def _network(penalty: Any = None) -> Any:
    """Return a network with normalization as a Keras user would write it; the same weights each time."""
    keras = import_keras()
    keras.utils.set_random_seed(1)
    x = keras.Input((6,))
    y = keras.layers.Dense(5, activation="tanh", kernel_regularizer=penalty, name="first")(x)
    y = keras.layers.LayerNormalization(name="norm")(y)
    y = keras.layers.Dense(4, activation="tanh", kernel_regularizer=penalty, name="second")(y)
    return keras.Model([x], keras.layers.Dense(3, kernel_regularizer=penalty, name="logits")(y))


def _step(optimizer: OptimizerConfig = SGD, **settings: Any) -> TrainStep:
    update = UpdateSettings(**settings)
    return TrainStep(_network(), build_optimizer(optimizer), Objective("softmax", 3), update=update)


def _batches(size: int) -> list[tuple[list[np.ndarray], np.ndarray]]:
    return [([FEATURES[at : at + size]], LABELS[at : at + size]) for at in range(0, IMAGES, size)]


def _train(step: TrainStep, size: int, epochs: int = 2) -> None:
    for _ in range(epochs):
        batches = _batches(size)
        step.train_epoch(batches, iter([1.0] * len(batches)), "a step")


def _fit_keras(model: Any, optimizer: Any, size: int, epochs: int = 2) -> None:
    keras = import_keras()
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for _ in range(epochs):
        for (features,), labels in _batches(size):
            model.train_on_batch([features], labels)


def _assert_equal(ours: list[np.ndarray], theirs: list[Any]) -> None:
    start = [weight.numpy() for weight in _network().weights]
    assert any(np.abs(one - before).max() > 1e-3 for one, before in zip(ours, start, strict=True))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=2e-6)


def test_penalties_are_those_of_keras_on_every_kernel() -> None:
    """L1 and L2 act as regularizers of all kernels, and not on biases and normalization. Row 68, Row 124."""
    step = _step(l1=0.01, l2=0.02)
    model = _network(import_keras().regularizers.L1L2(0.01, 0.02))
    _train(step, 8)
    _fit_keras(model, import_keras().optimizers.SGD(0.05), 8)

    _assert_equal(step.weights(), model.weights)


def test_only_trained_layers_are_penalized() -> None:
    """The penalty is that of the trained kernels; those of frozen layers neither count nor move."""
    model = _network()
    model.get_layer("first").trainable = False
    step = TrainStep(model, build_optimizer(SGD), Objective("softmax", 3), update=UpdateSettings(l2=1e3))
    before = model.get_layer("first").kernel.numpy()
    trained = [model.get_layer(name).kernel.numpy() for name in ("second", "logits")]
    assert step.penalty() == pytest.approx(1e3 * sum(float(np.square(kernel).sum()) for kernel in trained))

    step.train_epoch(_batches(IMAGES), iter([1e-6]), "a step")

    np.testing.assert_array_equal(model.get_layer("first").kernel.numpy(), before)
    assert np.linalg.norm(model.get_layer("second").kernel) < np.linalg.norm(_network().get_layer("second").kernel)


def test_a_residual_block_under_l2_becomes_the_identity() -> None:
    """Without a gradient from the data, L2 drives kernels to 0: a block with a shortcut then passes on its input.

    The same block without a shortcut passes on nothing. Row 139.
    """
    keras = import_keras()
    images = RANDOM.normal(size=(8, 6, 6, 3)).astype(np.float32)
    outputs = {}
    for shortcut in (True, False):
        x = keras.Input((6, 6, 3))
        y = keras.layers.Conv2D(3, 3, padding="same", activation="relu", use_bias=False, name="one")(x)
        y = keras.layers.Conv2D(3, 3, padding="same", use_bias=False, name="two")(y)
        block = keras.layers.Add(name="sum")([x, y]) if shortcut else y
        scores = keras.layers.Dense(3, kernel_initializer="zeros", use_bias=False, trainable=False)(
            keras.layers.GlobalAveragePooling2D()(block)
        )
        step = TrainStep(
            keras.Model([x], scores), build_optimizer(SGD), Objective("softmax", 3), update=UpdateSettings(l2=1.0)
        )
        before = float(np.linalg.norm(step.tail.get_layer("two").kernel))
        step.train_epoch([([images], LABELS[:8])] * 150, iter([1.0] * 150), "a step")
        outputs[shortcut] = np.asarray(keras.Model(x, block)(images))
        assert float(np.linalg.norm(step.tail.get_layer("two").kernel)) < 1e-5 * before

    np.testing.assert_allclose(outputs[True], images, atol=1e-6)
    np.testing.assert_allclose(outputs[False], 0, atol=1e-6)


def test_averages_are_those_of_keras_and_are_used_to_evaluate() -> None:
    """The moving average equals that of Keras's `use_ema`, and validation and saved weights use it."""
    step = _step(ADAM, ema=0.7)
    model, optimizer = _network(), import_keras().optimizers.Adam(0.01, use_ema=True, ema_momentum=0.7)
    _train(step, 8)
    _fit_keras(model, optimizer, 8)
    np.testing.assert_allclose(step.tail.weights[0].numpy(), model.weights[0].numpy(), rtol=1e-4, atol=2e-6)
    optimizer.finalize_variable_values(model.trainable_variables)

    _assert_equal(step.weights(), model.weights)
    assert np.abs(step.weights()[0] - step.tail.weights[0].numpy()).max() > 1e-3
    measured = step.evaluate(_batches(8), "a step")["loss"]
    assert measured == pytest.approx(float(model.evaluate([FEATURES], LABELS, verbose=0)), rel=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_model_of_a_training_has_the_averages_that_were_validated(tmp_path: Path, precision: str) -> None:
    """With convolutions, batch normalization and dropout, the final weights give the last validation loss."""
    options = {"filters": [4, 8], "batch_norm": True, "dropout": 0.3}
    config = tiny_config(
        draw_dataset(tmp_path / "data"),
        mode="from-scratch",
        precision=precision,
        backbone={"name": "ConvNet", "weights": "none", "options": options},
        training={"epochs": 3, "batch_size": 8, "ema": 0.9, "best": {"monitor": "last"}},
    )
    classifier, context = build_classifier(config, 2), context_for(config, tmp_path / "store")
    outcome = train_in(context, classifier, tmp_path / "run")
    tail = outcome.last.cut.tail
    step = TrainStep(tail, build_optimizer(ADAM), Objective("softmax", 2), outcome.last.precision)
    validation, _ = outcome.last.load("validation")

    found = step.evaluate(validation.in_order(8), "the end")["loss"]
    assert found == pytest.approx(outcome.history[-1].metrics["val_loss"], rel=1e-6)
    assert outcome.best.epoch == 3


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize(("size", "n"), [(5, 2), (4, 2)], ids=["whole updates", "a smaller one at the end"])
def test_accumulated_batches_equal_one_large_batch(optimizer: OptimizerConfig, size: int, n: int) -> None:
    """Each update has the mean gradient of all its images, and the rest of an epoch makes one of its own."""
    small, large = _step(optimizer, accumulation=n), _step(optimizer)
    _train(small, size)
    _train(large, size * n)

    assert int(small.optimizer.iterations) == int(large.optimizer.iterations) == 2 * -(-IMAGES // (size * n))
    _assert_equal(small.weights(), large.tail.weights)


def test_layers_learn_at_rates_of_their_own() -> None:
    """With SGD, a factor of a layer is a learning rate of its own, as in plain Keras with a loop over the variables."""
    import tensorflow as tf

    factors = {"first": 0.25, "norm": 0.25, "second": 0.5}
    step, model = _step(factors=factors), _network()
    _train(step, 8)
    loss = import_keras().losses.SparseCategoricalCrossentropy(from_logits=True)
    rates = [0.05 * factors.get(name, 1.0) for name in LAYERS for _ in range(2)]
    for (features,), labels in _batches(8) * 2:
        with tf.GradientTape() as tape:
            value = loss(labels, model([features], training=True))
        for weight, gradient, rate in zip(
            model.trainable_variables, tape.gradient(value, model.trainable_variables), rates, strict=True
        ):
            weight.assign_sub(rate * gradient)

    _assert_equal(step.weights(), model.weights)


def test_a_factor_scales_the_steps_of_any_optimizer() -> None:
    """The first step of Adam, which is as long as the learning rate, is as long as the factor says."""
    whole, half = _step(ADAM), _step(ADAM, factors={"second": 0.5})
    start = _network().get_layer("second").kernel.numpy()
    steps = []
    for step in (whole, half):
        step.train_epoch(_batches(IMAGES), iter([1.0]), "a step")
        steps.append(step.tail.get_layer("second").kernel.numpy() - start)

    np.testing.assert_allclose(steps[1], steps[0] / 2, rtol=1e-3)


def test_factors_fall_from_the_head_to_the_first_layer() -> None:
    """Each layer that `unfreeze` counts has the decay once more; normalization has that of the layer before it."""
    backbone = {"name": "ConvNet", "weights": "none", "options": {"filters": [4, 8, 8], "batch_norm": True}}
    classifier = build_classifier(tiny_config(Path("unused"), backbone=backbone), 2)
    factors = learning_rate_factors(classifier, 0.5)
    names = [name for name in factors if name.endswith(("conv", "bn", "batch_norm"))]
    convolutions = [factors[name] for name in names if name.endswith("conv")]

    assert convolutions == [0.5, 0.25, 0.125]
    assert all(not name.startswith("head") for name in factors)
    assert [factors[name] for name in names if not name.endswith("conv")] == convolutions
    assert {layer.name for layer in cut_classifier(classifier, 1).tail.layers if layer.weights} - factors.keys() == {
        "head_logits"
    }


def test_gradual_unfreezing_is_shorthand_for_stages(tmp_path: Path) -> None:
    """Mode fine-tuning trains the head, then one stage for each entry, with a tenth of the learning rate."""
    settings = {
        "mode": "fine-tuning",
        "data": {"path": tmp_path},
        "training": {"gradual_unfreezing": [1, 3, "all"], "epochs": 2},
    }
    stages = stages_of(config_from_mapping(settings, environment={}))

    assert [(stage.name, stage.unfreeze) for stage in stages] == [
        ("head", 0),
        ("fine-tune-1", 1),
        ("fine-tune-2", 3),
        ("fine-tune-3", "all"),
    ]
    assert {stage.optimizer.learning_rate for stage in stages[1:]} == {1e-4}
