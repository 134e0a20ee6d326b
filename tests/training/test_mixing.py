"""MixUp and CutMix: the random draws, mixed pixels and labels, and steps that equal Keras's on mixed labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.config.head_settings import HeadConfig
from cnncli.config.training_settings import OptimizerConfig
from cnncli.networks.backend import import_keras
from cnncli.networks.head import build_head, output_units
from cnncli.training.mixing import Mix, MixedLabels, MixedObjective, Mixing, mix_inputs
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.steps import TrainStep

RNG = np.random.default_rng(0)
MIXUP, CUTMIX, BOTH = Mixing(0.4, 0.0, 0), Mixing(0.0, 1.0, 0), Mixing(0.4, 1.0, 0)
HEADS = [("softmax", 4), ("softmax", 2), ("sigmoid", 2), ("sigmoid", 3), ("linear", 3)]
TRAINED = [
    pytest.param(*head, marks=[] if head in (("softmax", 4), ("sigmoid", 2)) else pytest.mark.slow) for head in HEADS
]
"""Heads of tests that train, most of them in the slow tier."""


def logits_and_labels(activation: str, classes: int, images: int = 7) -> tuple[Any, MixedLabels]:
    """Return scores of a batch, and two labels per image with a ratio of 0.3 for the first."""
    units = output_units(HeadConfig(activation=activation), classes)  # type: ignore[arg-type]
    own, partners = RNG.integers(0, classes, (2, images))
    return RNG.normal(size=(images, units)).astype(np.float32), MixedLabels(own, partners, np.float32(0.3))


def soft_targets(labels: MixedLabels, units: int, classes: int) -> np.ndarray:
    """Return mixed labels as Keras's losses take them: one-hot, or the second class's ratio for a single unit."""
    one_hot = np.eye(classes, dtype=np.float32)
    targets = labels.ratio * one_hot[labels.own] + (1 - labels.ratio) * one_hot[labels.partners]
    return targets[:, 1:] if units == 1 else targets


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("activation", "classes"), HEADS)
def test_the_objective_is_kerass_on_mixed_labels(activation: str, classes: int, smoothing: float) -> None:
    """The objective is Keras's cross-entropy of soft targets with label smoothing; the plain loss omits smoothing."""
    losses = import_keras().losses
    logits, labels = logits_and_labels(activation, classes)
    targets = soft_targets(labels, logits.shape[1], classes)
    kind = losses.BinaryCrossentropy if activation == "sigmoid" else losses.CategoricalCrossentropy
    objective = MixedObjective(activation, classes, smoothing)

    expected = kind(from_logits=True, label_smoothing=smoothing)(targets, logits)
    measures = objective.measure(logits, labels)
    assert float(measures.objective) == pytest.approx(float(expected), rel=1e-5)
    plain = kind(from_logits=True, reduction="none")(targets, logits)
    np.testing.assert_allclose(measures.plain_losses, plain, rtol=1e-5)


@pytest.mark.parametrize(("activation", "classes"), HEADS)
def test_class_weights_weigh_either_label_by_its_own_class(activation: str, classes: int) -> None:
    """Each label is weighted by its own class, as computed by hand from Keras's losses of hard labels."""
    losses = import_keras().losses
    logits, labels = logits_and_labels(activation, classes)
    weights = tuple(np.linspace(0.5, 2.0, classes).tolist())
    kind = losses.BinaryCrossentropy if activation == "sigmoid" else losses.CategoricalCrossentropy
    expected = 0.0
    for ratio, hard in ((0.3, labels.own), (0.7, labels.partners)):
        targets = soft_targets(MixedLabels(hard, hard, np.float32(1.0)), logits.shape[1], classes)
        each = np.asarray(kind(from_logits=True, reduction="none", label_smoothing=0.1)(targets, logits))
        expected += ratio * float(np.mean(np.array(weights)[hard] * each))

    objective = MixedObjective(activation, classes, 0.1, weights)
    assert float(objective.measure(logits, labels).objective) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("activation", "classes"), HEADS)
def test_a_ratio_of_1_is_the_plain_objective_bit_for_bit(activation: str, classes: int) -> None:
    """With a ratio of 1, objective, plain losses and the number of correct predictions equal those without mixing."""
    logits, labels = logits_and_labels(activation, classes)
    whole = labels._replace(ratio=np.float32(1.0))
    ours, plain = (kind(activation, classes, 0.1, (0.5,) * classes) for kind in (MixedObjective, Objective))
    for mixed, expected in zip(ours.measure(logits, whole), plain.measure(logits, labels.own), strict=True):
        np.testing.assert_array_equal(mixed, expected)


def test_either_label_counts_by_its_ratio() -> None:
    """For images classified as class 1, the first, the second, both or no label counts as correct, by its ratio."""
    logits = np.tile(np.array([[0.0, 1.0, 0.0]], np.float32), (4, 1))
    labels = MixedLabels(np.array([1, 0, 1, 2]), np.array([0, 1, 1, 0]), np.float32(0.25))
    assert float(MixedObjective("softmax", 3).measure(logits, labels).n_correct) == pytest.approx(0.25 + 0.75 + 1.0)


# --- What is drawn ---


@given(
    mixing=st.sampled_from([MIXUP, CUTMIX, BOTH]),
    images=st.integers(1, 40),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    step=st.integers(1, 10**6),
)
def test_a_mix_is_a_function_of_its_key(mixing: Mixing, images: int, size: tuple[int, int], step: int) -> None:
    """Permutation, ratio and rectangle depend only on the key."""
    mix, again = (mixing.draw(images, size, "head", 3, step) for _ in range(2))
    assert sorted(mix.partners) == list(range(images))
    assert 0 <= mix.ratio <= 1
    assert mix.ratio.dtype == np.float32
    assert (mix.ratio, mix.box, mix.partners.tolist()) == (again.ratio, again.box, again.partners.tolist())


def test_another_seed_stage_epoch_or_step_mixes_otherwise() -> None:
    """A change of any word of the key changes the mix."""
    mix = BOTH.draw(32, (9, 9), "head", 1, 1)
    others = [
        dataclasses.replace(BOTH, seed=1).draw(32, (9, 9), "head", 1, 1),
        BOTH.draw(32, (9, 9), "top", 1, 1),
        BOTH.draw(32, (9, 9), "head", 2, 1),
        BOTH.draw(32, (9, 9), "head", 1, 2),
    ]
    for other in others:
        assert mix.partners.tolist() != other.partners.tolist()


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_ratios_of_mixup_follow_the_beta_distribution(alpha: float) -> None:
    """The ratios have a mean of 1/2 and a variance of 1 / (4 (2 alpha + 1))."""
    ratios = np.array([Mixing(alpha, 0.0, 0).draw(2, (1, 1), "head", 1, step).ratio for step in range(4000)])
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(ratios.mean() - 0.5) < 4.5 * np.sqrt(variance / 4000)
    assert ratios.var() == pytest.approx(variance, rel=0.05)


def test_both_are_drawn_equally_often_and_partners_evenly() -> None:
    """MixUp and CutMix are equally frequent, as in timm, and so is every partner of an image, including itself."""
    drawn = [BOTH.draw(5, (8, 8), "head", 1, step) for step in range(4000)]
    assert abs(np.mean([mix.box is not None for mix in drawn]) - 0.5) < 4.5 * 0.5 / np.sqrt(4000)
    partners = np.stack([mix.partners for mix in drawn])
    for image in range(5):
        counts = np.bincount(partners[:, image], minlength=5) / 4000
        assert np.abs(counts - 0.2).max() < 4.5 * np.sqrt(0.2 * 0.8 / 4000)


def test_the_ratio_of_cutmix_is_what_is_left_of_the_image() -> None:
    """Rectangles are clipped at the edges, and the ratio is computed from the pixels that are actually pasted."""
    for step in range(200):
        mix = CUTMIX.draw(2, (13, 17), "head", 1, step)
        assert mix.box is not None
        images = np.zeros((2, 13, 17, 1), np.uint8)
        images[1] = 1
        (result,) = mix_inputs([images], Mix(np.array([1, 0]), mix.ratio, mix.box))
        assert result[0].mean() == pytest.approx(1 - float(mix.ratio), abs=1e-6)
        assert result[1].mean() == pytest.approx(float(mix.ratio), abs=1e-6)


# --- What becomes of a batch ---


@given(ratio=st.floats(0, 1, width=32), seed=st.integers(0, 2**32))
def test_mixup_blends_all_tensors_with_the_same_partners(ratio: float, seed: int) -> None:
    """All tensors at the cut are blended in floating point with the same partners."""
    random = np.random.default_rng(seed)
    inputs = [random.normal(size=(6, 3, 2, 4)).astype(np.float32), random.integers(0, 256, (6, 5), dtype=np.uint8)]
    before = [array.copy() for array in inputs]
    partners = random.permutation(6)
    for array, result, kept in zip(inputs, mix_inputs(inputs, Mix(partners, np.float32(ratio))), before, strict=True):
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, ratio * array + (1 - ratio) * array[partners], rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(array, kept)


def test_a_ratio_of_1_changes_no_bit() -> None:
    """A ratio of 1 changes no bit, and neither does an image that is its own partner."""
    array = RNG.normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_array_equal(mix_inputs([array], Mix(np.array([1, 2, 3, 0]), np.float32(1.0)))[0], array)
    np.testing.assert_array_equal(mix_inputs([array], Mix(np.arange(4), np.float32(0.3)))[0], array)


@pytest.mark.parametrize("mixing", [MIXUP, CUTMIX, BOTH])
def test_a_batch_of_one_stays_as_it_is(mixing: Mixing) -> None:
    """A batch of one image is not changed, as it would be mixed with itself."""
    pixels, labels = RNG.integers(0, 256, (1, 4, 4, 3), dtype=np.uint8), np.array([2])
    for step, ((inputs, mixed_labels),) in enumerate([mixing.epoch([([pixels], labels)], "head", n) for n in range(9)]):
        np.testing.assert_array_equal(inputs[0], pixels, err_msg=str(step))
        assert (mixed_labels.own.tolist(), mixed_labels.partners.tolist(), mixed_labels.ratio) == ([2], [2], 1.0)


def test_cutmix_pastes_the_rectangle_of_the_partner() -> None:
    """Rows 1–2 and columns 0–1 come from the partner, and the pixels stay uint8."""
    pixels = RNG.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    partners = np.array([2, 0, 1])
    (result,) = mix_inputs([pixels], Mix(partners, np.float32(0.8), (slice(1, 3), slice(0, 2))))
    expected = pixels.copy()
    expected[:, 1:3, 0:2] = pixels[partners][:, 1:3, 0:2]
    np.testing.assert_array_equal(result, expected)


def test_settings_without_an_alpha_mix_nothing() -> None:
    """Nothing is mixed if both alphas are 0; one of them suffices to mix."""
    assert Mixing.from_config(AugmentationConfig(horizontal_flip=True), 0) is None
    assert Mixing.from_config(AugmentationConfig(mixup=0.2), 5) == Mixing(0.2, 0.0, 5)
    assert not AugmentationConfig(mixup=0.2, cutmix=1.0).is_active


# --- Steps ---


def _trainer(activation: Any, classes: int, kind: type[Objective]) -> TrainStep:
    keras, head = import_keras(), HeadConfig(activation=activation)
    features = keras.Input((5,))
    scores = build_head(features, head, classes, seed=3)
    logits = scores if activation == "linear" else scores._keras_history.operation.input
    optimizer = build_optimizer(OptimizerConfig(name="adam", learning_rate=0.01))
    return TrainStep(keras.Model([features], logits), optimizer, kind(activation, classes))


def _weights_after(trainer: TrainStep, batches: Any) -> list[np.ndarray]:
    trainer.train_epoch(batches, iter([1.0] * len(batches)), "a test")
    return trainer.weights()


@pytest.mark.parametrize(("activation", "classes"), TRAINED)
def test_steps_with_a_ratio_of_1_are_plain_steps_bit_for_bit(activation: str, classes: int) -> None:
    """The compiled steps of both objectives give the same weights."""
    features = RNG.normal(size=(12, 5)).astype(np.float32)
    labels, partners = RNG.integers(0, classes, (2, 12))
    rows = [slice(0, 5), slice(5, 10), slice(10, 12)]
    plain = [([features[r]], labels[r]) for r in rows]
    whole = [([features[r]], MixedLabels(labels[r], partners[r], np.float32(1.0))) for r in rows]

    expected = _weights_after(_trainer(activation, classes, Objective), plain)
    for ours, theirs in zip(
        _weights_after(_trainer(activation, classes, MixedObjective), whole), expected, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("activation", "classes"), TRAINED)
def test_mixed_steps_are_kerass_steps_on_soft_labels(activation: str, classes: int) -> None:
    """An epoch of MixUp gives the weights of `train_on_batch` with the same mixed features and labels."""
    keras = import_keras()
    features = RNG.normal(size=(20, 5)).astype(np.float32)
    labels = RNG.integers(0, classes, 20)
    trainer = _trainer(activation, classes, MixedObjective)
    units = trainer.tail.outputs[0].shape[-1]
    theirs = keras.Sequential([keras.Input((5,)), keras.layers.Dense(units)])
    theirs.set_weights(trainer.weights())
    losses = keras.losses
    loss = losses.BinaryCrossentropy if activation == "sigmoid" else losses.CategoricalCrossentropy
    theirs.compile(keras.optimizers.Adam(0.01), loss(from_logits=True))

    batches = list(MIXUP.epoch([([features[n : n + 8]], labels[n : n + 8]) for n in (0, 8, 16)], "head", 1))
    found = trainer.train_epoch(batches, iter([1.0] * 3), "a test")
    reported = []
    for inputs, soft in batches:
        targets = soft_targets(soft, units, classes)
        reported.append(float(theirs.train_on_batch(inputs[0], targets, return_dict=True)["loss"]) * len(targets))

    assert found.loss / found.images == pytest.approx(sum(reported) / 20, rel=1e-5)
    for ours, expected in zip(trainer.weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=2e-6)
