"""Losses equal Keras's, PyTorch-style formulas and the numbers of the course, in NumPy and in the graph of training."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from cnncli.catalogue.losses import LOSSES
from cnncli.metrics.losses import OWN_LOSSES, hinge, squared_error
from cnncli.networks.backend import import_keras
from cnncli.networks.losses import compute_losses, evaluate_losses
from cnncli.training.objective import Objective

RNG = np.random.default_rng(0)
SCORES, TRUE = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]]), np.array([0, 1, 2])
NOT_OFFERED = {"Loss", "CTC", "Circle"}


def test_hinge_is_the_multiclass_svm_loss_of_the_course() -> None:
    """Samples 2.9, 0 and 12.9, mean 5.267. Rows 107, 108, 109 and 110."""
    found = evaluate_losses("hinge", SCORES, TRUE, "linear")
    np.testing.assert_allclose(found, [2.9, 0.0, 12.9], atol=1e-12)
    assert found.mean() == pytest.approx(5.267, abs=5e-4)


def test_hinge_is_not_the_categorical_hinge_of_keras() -> None:
    """Keras's loss counts the worst class only, and gives 6.6 for the third sample. Row 109."""
    np.testing.assert_allclose(evaluate_losses("CategoricalHinge", SCORES, TRUE, "linear"), [2.9, 0, 6.6], atol=1e-6)


def test_larger_weights_leave_a_hinge_loss_of_zero() -> None:
    """The weights that give the loss 0 are not unique. Row 111."""
    assert evaluate_losses("hinge", 2 * SCORES[1:2], TRUE[1:2], "linear").tolist() == [0.0]


def test_squared_error_is_half_the_sum_of_squares() -> None:
    """0.55 before the step, 0.06 after it. Row 113."""
    target = np.array([[0, 0, 1, 0]])
    for outputs, expected in (([0.2, 0.4, 0.1, 0.3], 0.55), ([0.1, 0.1, 0.7, 0.1], 0.06)):
        assert squared_error(np, np.array([outputs]), target, "linear")[0] == pytest.approx(expected)
        logits = np.log([outputs])
        assert evaluate_losses("squared-error", logits, np.array([2]), "softmax")[0] == pytest.approx(expected)


def test_softmax_cross_entropy_of_the_course() -> None:
    """The scores 3.2, 5.1 and −1.7 give 2.0404 nats. Rows 105 and 119."""
    assert evaluate_losses("cross-entropy", SCORES[:1], TRUE[:1], "softmax")[0] == pytest.approx(2.0404, abs=5e-5)


def test_binary_cross_entropy_of_the_course() -> None:
    """One sigmoid for two classes. Row 106."""
    logits = np.array([[1.5], [-0.5]])
    expected = [np.log1p(np.exp(-1.5)), np.log1p(np.exp(-0.5))]
    np.testing.assert_allclose(evaluate_losses("cross-entropy", logits, np.array([1, 0]), "sigmoid"), expected)


def test_catalogue_is_every_loss_of_keras() -> None:
    """Losses for sequences and for embeddings are left out. Row 114."""
    public = {name for name, thing in vars(import_keras().losses).items() if inspect.isclass(thing)}
    assert {info.class_name for info in LOSSES.values() if info.class_name} == public - NOT_OFFERED


def _cases() -> list[Any]:
    heads = (("softmax", 4), ("linear", 4), ("sigmoid", 1))
    return [
        pytest.param(name, activation, units, id=f"{name}-{activation}")
        for name, info in LOSSES.items()
        for activation, units in heads
        if not (info.needs_scores_of_classes and activation == "sigmoid")
        if not (info.needs_probabilities and activation == "linear")
    ]


@pytest.mark.parametrize(("loss", "activation", "units"), _cases())
def test_training_and_evaluation_compute_the_same_loss(loss: str, activation: str, units: int) -> None:
    """The plain loss in the graph equals that of `evaluate`, for every loss and activation."""
    logits = RNG.normal(size=(7, units)).astype(np.float32)
    labels = RNG.integers(0, max(units, 2), 7)
    objective = Objective(activation, max(units, 2), loss=loss)
    measures = objective.measure(logits, labels)
    expected = evaluate_losses(loss, logits, labels, activation)
    assert expected.shape == (7,)
    np.testing.assert_allclose(measures.plain_losses, expected, rtol=2e-4, atol=1e-5)
    assert float(measures.objective) == pytest.approx(expected.mean(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", sorted(name for name, info in LOSSES.items() if info.class_name))
def test_losses_of_keras_are_those_of_compile(name: str) -> None:
    """The value equals that of the class with its defaults, for probabilities."""
    keras, info = import_keras(), LOSSES[name]
    logits, labels = RNG.normal(size=(5, 3)).astype(np.float32), RNG.integers(0, 3, 5)
    outputs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)  # Keras's softmax remembers its logits
    truth = labels if info.takes_indices else np.eye(3, dtype=np.float32)[labels]
    ours = evaluate_losses(name, logits, labels, "softmax")
    if name in ("Dice", "Tversky"):  # Keras's default is one value for the whole batch
        expected = [getattr(keras.losses, name)()(truth[k : k + 1], outputs[k : k + 1]) for k in range(5)]
        np.testing.assert_allclose(ours, np.array(expected), rtol=1e-5)
    else:
        expected = getattr(keras.losses, str(info.class_name))()(truth, outputs)
        assert ours.mean() == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(("activation", "units"), [("softmax", 3), ("sigmoid", 3), ("sigmoid", 1)])
def test_focal_equals_kerass_without_alpha(activation: str, units: int) -> None:
    """Gamma is 2; several labels and one unit are binary problems."""
    keras = import_keras()
    logits = RNG.normal(size=(6, units)).astype(np.float32)
    if activation == "softmax":
        labels = RNG.integers(0, 3, 6)
        kind, targets = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, from_logits=True), np.eye(3)[labels]
    else:
        labels = RNG.integers(0, 2, (6, units)).astype(np.uint8)
        kind, targets = keras.losses.BinaryFocalCrossentropy(from_logits=True), labels
    found = evaluate_losses("focal", logits, labels, activation)
    assert found.mean() == pytest.approx(float(kind(targets.astype(np.float32), logits)), rel=1e-4)


@pytest.mark.parametrize("loss", ["hinge", "squared-error", "focal", "MeanAbsoluteError"])
def test_gradients_are_those_of_finite_differences(loss: str) -> None:
    """A gradient check by calculus. Row 120."""
    import tensorflow as tf

    logits, targets = RNG.normal(size=(4, 3)), np.eye(3)[[0, 1, 2, 1]]
    variable = tf.Variable(logits.astype(np.float32))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(compute_losses(loss, variable, tf.constant(targets, tf.float32), "softmax"))
    found = tape.gradient(value, variable).numpy()
    step = 1e-3
    for place in np.ndindex(logits.shape):
        moved = [logits.copy(), logits.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        up, down = (evaluate_losses(loss, one, targets.argmax(axis=1), "softmax").sum() for one in moved)
        assert found[place] == pytest.approx((up - down) / (2 * step), abs=2e-3)


def test_own_losses_are_in_the_catalogue() -> None:
    """Their names are those without a class of Keras, except cross-entropy."""
    assert {*OWN_LOSSES, "cross-entropy"} == {name for name, info in LOSSES.items() if info.class_name is None}
    assert hinge is OWN_LOSSES["hinge"]
