"""The objective equals Keras's losses with the same arguments."""

from __future__ import annotations

import numpy as np
import pytest

from cnncli.training.objective import Objective, balanced_weights

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("activation", "classes", "units"), [("softmax", 4, 4), ("sigmoid", 2, 1), ("sigmoid", 4, 4)])
def test_smoothing_equals_kerass(activation: str, classes: int, units: int) -> None:
    """Label smoothing equals Keras's, for softmax and for sigmoid."""
    import keras

    logits, labels = RNG.normal(size=(6, units)).astype(np.float32), RNG.integers(0, classes, 6)
    targets = labels[:, None] if units == 1 else np.eye(classes)[labels]
    loss = keras.losses.BinaryCrossentropy if activation == "sigmoid" else keras.losses.CategoricalCrossentropy
    expected = loss(from_logits=True, label_smoothing=0.2)(targets.astype(np.float32), logits)

    assert float(Objective(activation, classes, 0.2).measure(logits, labels).objective) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_class_weights_weigh_as_in_fit() -> None:
    """The weighted losses are divided by the number of images, not by the sum of the weights."""
    import keras

    logits, labels = RNG.normal(size=(8, 3)).astype(np.float32), RNG.integers(0, 3, 8)
    weights = (0.5, 1.0, 3.0)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
        labels, logits, sample_weight=np.array(weights, np.float32)[labels]
    )

    objective = Objective("softmax", 3, class_weights=weights)
    assert float(objective.measure(logits, labels).objective) == pytest.approx(float(expected), rel=1e-5)


def test_the_plain_loss_knows_neither_smoothing_nor_weights() -> None:
    """The loss in history, validation and `evaluate` has neither smoothing nor class weights."""
    logits, labels = RNG.normal(size=(5, 3)).astype(np.float32), RNG.integers(0, 3, 5)
    dressed = Objective("softmax", 3, label_smoothing=0.3, class_weights=(1.0, 2.0, 3.0))

    found, plain = (one.measure(logits, labels) for one in (dressed, Objective("softmax", 3)))
    np.testing.assert_array_equal(found.plain_losses, plain.plain_losses)


def test_balanced_weights_equal_scikit_learns() -> None:
    """Balanced weights equal scikit-learn's: n / (number of classes · n of the class)."""
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0, 0, 0, 1, 2, 2])

    assert balanced_weights(labels, 3) == pytest.approx(
        tuple(compute_class_weight("balanced", classes=np.arange(3), y=labels))
    )
