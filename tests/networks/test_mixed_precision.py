"""The bfloat16 copy of a tail is the same network with its own float32 weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import Cut, cut_classifier
from cnncli.networks.head import LOGITS
from cnncli.networks.mixed_precision import hand_weights_over, is_convolutional, mixed_bfloat16, split_logits
from tests.support import plain_keras
from tests.support.drawing import tiny_config

BACKBONE = {"name": "MobileNetV2", "weights": "none", "options": {"alpha": 0.35}}


@pytest.fixture
def cut(built: Cut) -> Iterator[Cut]:
    """Return the cut, whose weights a test may change."""
    weights = built.tail.get_weights()
    yield built
    built.tail.set_weights(weights)


@pytest.fixture(scope="module")
def built() -> Cut:
    """Return a cut inside a residual block, which two tensors cross, with frozen batch normalization."""
    classifier = build_classifier(tiny_config(Path("unused"), backbone=BACKBONE), 2)
    plain_keras.vary(classifier.model, 1)
    return cut_classifier(classifier, "block_15_project")


def _features(cut: Cut) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(4, *shape)).astype(np.float32) for _, shape in cut.crossing]


def test_its_logits_resemble_the_originals(cut: Cut) -> None:
    """The copy's logits are float32 and equal the original's to two or three digits, the precision of bfloat16."""
    copy, features = mixed_bfloat16(cut.tail, in_float32=(LOGITS,)), _features(cut)
    expected, found = cut.tail(features).numpy(), copy(features).numpy()

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
    assert (found != expected).any()


def test_its_weights_are_float32_and_its_own(cut: Cut) -> None:
    """Training changes only the copy's weights, and frozen layers are frozen in the copy, too."""
    copy = mixed_bfloat16(cut.tail)
    original = [weight.numpy() for weight in cut.tail.weights]
    for weight in copy.trainable_weights:
        weight.assign(weight + 1.0)

    assert {str(weight.dtype) for weight in copy.weights} == {"float32"}
    assert all((weight.numpy() == before).all() for weight, before in zip(cut.tail.weights, original, strict=True))
    assert [w.path for w in copy.trainable_weights] == [w.path for w in cut.tail.trainable_weights]


def test_weights_are_handed_over_by_name(cut: Cut) -> None:
    """The original gets the copy's weights and statistics bit for bit."""
    copy = mixed_bfloat16(cut.tail)
    for number, weight in enumerate(copy.weights):
        weight.assign(np.full(weight.shape, number, np.float32))
    hand_weights_over(copy, cut.tail)

    given = {weight.path: weight.numpy() for weight in copy.weights}
    assert all((weight.numpy() == given[weight.path]).all() for weight in cut.tail.weights)


def test_the_logits_can_be_split_off(cut: Cut) -> None:
    """The tail can be split into two parts with the same result; the second part is the last layer."""
    below, logits = split_logits(cut.tail)
    features = _features(cut)

    assert [layer.name for layer in logits.layers if layer.weights] == [LOGITS]
    assert (logits(below(features)).numpy() == cut.tail(features).numpy()).all()


def test_only_convolutions_are_worth_it(cut: Cut) -> None:
    """A tail with only dense layers computes in float32."""
    head = cut_classifier(build_classifier(tiny_config(Path("unused"), backbone=BACKBONE), 2), 0)

    assert is_convolutional(cut.tail)
    assert not is_convolutional(head.tail)
