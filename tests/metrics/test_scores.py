"""Probabilities and losses from logits equal Keras's, and are exact where Keras clips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cnncli.metrics.classification import plain_losses, probabilities_of

LOGITS = arrays(np.float64, (5, 4), elements=st.floats(-50, 50))


@given(LOGITS)
def test_softmax_probabilities_sum_to_one(logits: np.ndarray) -> None:
    """For all logits, the probabilities are not negative and sum to 1."""
    probabilities = probabilities_of(logits, "softmax")

    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert (probabilities >= 0).all()


def test_one_sigmoid_unit_is_the_second_of_two_classes() -> None:
    """A single logit becomes two probabilities that sum to 1."""
    np.testing.assert_allclose(probabilities_of(np.array([[0.0], [2.0]]), "sigmoid")[:, 1], [0.5, 1 / (1 + np.exp(-2))])
    np.testing.assert_allclose(probabilities_of(np.array([[800.0], [-800.0]]), "sigmoid"), [[0, 1], [1, 0]])


def test_several_sigmoid_units_are_independent() -> None:
    """Several sigmoid units give independent probabilities, which need not sum to 1."""
    np.testing.assert_allclose(probabilities_of(np.zeros((1, 3)), "sigmoid"), [[0.5, 0.5, 0.5]])


@pytest.mark.parametrize("activation", ["softmax", "linear"])
def test_losses_equal_kerass_categorical_crossentropy(activation: str) -> None:
    """Losses equal those of Keras for the same logits in float32."""
    import keras

    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (7, 4)).astype(np.float32), rng.integers(0, 4, 7)
    expected = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)

    np.testing.assert_allclose(plain_losses(logits, labels, activation), expected, rtol=1e-5)


@pytest.mark.parametrize("units", [1, 3])
def test_losses_equal_kerass_binary_crossentropy(units: int) -> None:
    """Losses equal Keras's with one unit for two classes and with one unit per class."""
    import keras

    rng = np.random.default_rng(1)
    logits, labels = rng.normal(0, 3, (6, units)).astype(np.float32), rng.integers(0, max(units, 2), 6)
    targets = labels[:, None] if units == 1 else np.eye(units)[labels]
    expected = keras.losses.binary_crossentropy(targets.astype(np.float32), logits, from_logits=True)

    np.testing.assert_allclose(plain_losses(logits, labels, "sigmoid"), expected, rtol=1e-5)


def test_the_loss_of_a_confident_mistake_is_not_clipped() -> None:
    """The loss of a confident mistake is exact; from float32 probabilities it would be at most 16, or infinite."""
    assert plain_losses(np.array([[0.0, 300.0]]), np.array([0]), "softmax")[0] == 300.0
