"""A step that became NaN or Inf is repeated, and the layer that broke first is named."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from cnncli.training.objective import Objective
from cnncli.training.replay import Breakdown, StepRecorder, find_breakdown
from cnncli.training.steps import TrainStep

IMAGES = np.random.default_rng(0).uniform(0, 1, (8, 4)).astype(np.float32)
LABELS = np.array([0, 1] * 4)


def _step(activation: Any = "relu", *, dropout: float = 0.0) -> TrainStep:
    """Return a training step of three dense layers: first, second and logits."""
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, activation=activation, name="first")(inputs)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    x = keras.layers.Dense(5, name="second")(x)
    tail = keras.Model([inputs], keras.layers.Dense(2, name="logits")(x))
    return TrainStep(tail, keras.optimizers.SGD(0.1), Objective("softmax", 2))


def _breakdown(step: TrainStep, images: np.ndarray = IMAGES) -> Breakdown:
    return find_breakdown(step, step.arrays(), [images], LABELS)


def test_a_step_with_finite_values_has_no_breakdown() -> None:
    """Nothing is reported, and the step has been made."""
    step = _step()
    before = step.weights()

    assert _breakdown(step) == Breakdown("nothing")
    assert any(np.abs(now - then).max() > 0 for now, then in zip(step.weights(), before, strict=True))


def test_the_first_layer_that_overflows_is_named() -> None:
    """Layers after it overflow, too, but its own inputs are finite; their largest value is given."""
    step = _step()
    second = step.tail.get_layer("second")
    second.set_weights([np.full((6, 5), 3e38), np.zeros(5)])
    first = keras.Model(step.tail.inputs, step.tail.get_layer("first").output)([IMAGES]).numpy()
    found = _breakdown(step)

    assert (found.part, found.layer, found.kind, found.n) == ("output", "second", "Dense", 40)
    assert found.n_inf > 0
    assert found.largest == pytest.approx(np.abs(first).max())


def test_broken_images_are_not_blamed_on_a_layer() -> None:
    """A value of the batch itself is NaN."""
    images = IMAGES.copy()
    images[3, 1] = np.nan

    assert _breakdown(_step(), images) == Breakdown("input", n_nan=1, n=32)


def test_a_gradient_that_breaks_is_found_from_the_loss_down() -> None:
    """The square root of 0 is finite, but its slope is not: the gradient breaks by the weights below it."""
    step = _step(lambda x: keras.ops.sqrt(keras.ops.relu(x)))
    step.tail.get_layer("first").set_weights([np.zeros((4, 6)), np.zeros(6)])
    found = _breakdown(step)

    assert (found.part, found.layer) == ("gradient", "first")
    assert found.n_nan + found.n_inf > 0


def test_an_update_that_breaks_the_weights_is_named() -> None:
    """Loss and gradients are finite, but the learning rate takes the weights beyond float32."""
    step = _step()
    step.optimizer.learning_rate = step.learning_rate = 3e38
    step.tail.get_layer("logits").set_weights([np.tile([1e4, -1e4], (5, 1)), np.zeros(2)])
    found = _breakdown(step)

    assert (found.part, found.layer is not None) == ("update", True)


def test_a_recorded_step_repeats_its_dropout() -> None:
    """The random states are those before the step: the same step from them gives the same weights."""
    step, recorder = _step(dropout=0.5), StepRecorder()
    step.seed(0, "stage")
    step.train_epoch([([IMAGES], LABELS)], iter([1.0]), "a step", before_step=recorder)
    after = step.weights()
    find_breakdown(step, recorder.arrays, recorder.inputs, recorder.labels)

    assert all(np.array_equal(now, then) for now, then in zip(step.weights(), after, strict=True))
    assert {"inputs/0", "labels/own", "learning_rate"} <= set(recorder.saved())
