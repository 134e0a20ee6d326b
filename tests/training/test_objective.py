"""The objective equals Keras's losses with the same arguments."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from cnncli.metrics.classification import are_correct, plain_losses
from cnncli.training.mixing import MixedLabels, MixedObjective
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


@pytest.mark.parametrize("name", ["BinaryCrossentropy", "BinaryFocalCrossentropy"])
def test_smoothing_of_binary_losses_under_softmax_equals_kerass(name: str) -> None:
    """A binary loss takes each class of a softmax on its own, and its smoothed targets tend to one half."""
    import keras

    logits, labels = RNG.normal(size=(6, 10)).astype(np.float32), RNG.integers(0, 10, 6)
    probabilities = scipy.special.softmax(logits, axis=1)
    expected = getattr(keras.losses, name)(label_smoothing=0.2)(np.eye(10, dtype=np.float32)[labels], probabilities)

    objective = Objective("softmax", 10, 0.2, loss=name)
    assert float(objective.measure(logits, labels).objective) == pytest.approx(float(expected), rel=1e-5)


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


def test_several_labels_per_image_are_independent_problems() -> None:
    """Loss, smoothing and exact matches equal Keras's, also with a single label."""
    import keras

    for classes in (1, 4):
        logits = RNG.normal(size=(8, classes)).astype(np.float32)
        labels = RNG.integers(0, 2, (8, classes)).astype(np.uint8)
        found = Objective("sigmoid", classes, 0.2, is_multi_label=True).measure(logits, labels)
        smoothed = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)(labels, logits)
        plain = keras.losses.binary_crossentropy(labels.astype(np.float32), logits, from_logits=True)
        assert float(found.objective) == pytest.approx(float(smoothed), rel=1e-5)
        np.testing.assert_allclose(found.plain_losses, plain, rtol=1e-5)
        np.testing.assert_allclose(found.plain_losses, plain_losses(logits, labels, "sigmoid"), rtol=1e-5)
        assert int(found.n_correct) == are_correct(logits, labels, "sigmoid").sum()
        assert int(found.n_correct) == sum(map(np.array_equal, logits > 0, labels > 0))


def test_balanced_labels_weigh_images_with_and_without_each_label_equally() -> None:
    """Each label is a problem of two classes, with scikit-learn's weights, and the loss is the mean of theirs."""
    from sklearn.utils.class_weight import compute_sample_weight

    logits, labels = RNG.normal(size=(9, 3)).astype(np.float32), np.eye(3, dtype=np.uint8)[[0, 0, 0, 0, 0, 0, 1, 1, 2]]
    weights = np.stack([compute_sample_weight("balanced", labels[:, k]) for k in range(3)], axis=1)
    losses = np.logaddexp(0, logits) - logits * labels
    objective = Objective("sigmoid", 3, 0.0, balanced_weights(labels, 3), is_multi_label=True)
    assert float(objective.measure(logits, labels).objective) == pytest.approx(
        float((weights * losses).mean()), rel=1e-5
    )


def test_mixed_labels_are_mixed_targets() -> None:
    """With several labels per image, too, the loss of a mixed image is that of the mixed label."""
    import keras

    logits = RNG.normal(size=(6, 3)).astype(np.float32)
    own, partners = (RNG.integers(0, 2, (6, 3)).astype(np.uint8) for _ in range(2))
    mixed = (0.25 * own + 0.75 * partners).astype(np.float32)
    found = MixedObjective("sigmoid", 3, is_multi_label=True).measure(
        logits, MixedLabels(own, partners, np.float32(0.25))
    )
    expected = keras.losses.BinaryCrossentropy(from_logits=True)(mixed, logits)
    assert float(found.objective) == pytest.approx(float(expected), rel=1e-5)
