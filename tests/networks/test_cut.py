"""The cut: where it falls, which tensors cross it, which layers train, and that the output does not change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnncli.errors import CutError
from cnncli.networks.classifier import Classifier, build_classifier
from cnncli.networks.cut import countable_layers, cut_classifier
from tests.support.drawing import tiny_config

DENSE = {"name": "DenseNet121", "weights": "none"}


@pytest.fixture(scope="module")
def convnet() -> Classifier:
    """Return a classifier of two convolutions, with dropout and a hidden layer in the head."""
    head = {"layers": [{"dropout": 0.5}, {"dense": 4}]}
    return build_classifier(tiny_config(Path("unused"), head=head), 3)


@pytest.fixture(scope="module")
def mobilenet() -> Classifier:
    """Return a classifier with batch normalization and residual blocks, treated as if it were pretrained."""
    backbone = {"name": "MobileNetV2", "weights": "none", "options": {"alpha": 0.35}}
    return Classifier(build_classifier(tiny_config(Path("unused"), backbone=backbone), 2).model, pretrained=True)


def test_a_frozen_backbone_is_pooled_in_the_trunk(convnet: Classifier) -> None:
    """Pooling has no weights and no randomness, so it is part of the trunk; dropout is not."""
    cut = cut_classifier(convnet, 0)

    assert cut.at == "head_dropout_1"
    assert cut.crossing == (("head_avg_pool", (8,)),)
    assert cut.after == "head_avg_pool"
    assert cut.trained == ("head_dense_2", "head_logits")


def test_unfreeze_counts_weighted_layers_from_the_end(mobilenet: Classifier) -> None:
    """Normalization layers are not counted, so the third layer from the end is a convolution of the last block."""
    counted = [layer.name for layer in countable_layers(mobilenet)]

    assert counted[-3:] == ["block_16_depthwise", "block_16_project", "Conv_1"]
    assert cut_classifier(mobilenet, 3).at == "block_16_depthwise"


def test_unfreeze_takes_a_layers_name(mobilenet: Classifier) -> None:
    """Training starts at the named layer in graph order, or at the next layer with weights if it has none."""
    assert cut_classifier(mobilenet, "block_16_project").at == "block_16_project"
    assert cut_classifier(mobilenet, "block_16_depthwise_relu").at == "block_16_project"


@pytest.mark.parametrize("unfreeze", ["all", "first"])
def test_nothing_frozen_leaves_an_empty_trunk(mobilenet: Classifier, unfreeze: str) -> None:
    """If all layers with weights are trained, the tail takes pixels, and no features are stored."""
    cut = cut_classifier(mobilenet, "all" if unfreeze == "all" else len(countable_layers(mobilenet)))

    assert cut.trunk is None
    assert cut.crossing == (("pixels", (32, 32, 3)),)


def test_batch_norm_of_a_pretrained_backbone_stays_frozen(mobilenet: Classifier) -> None:
    """Batch normalization has `trainable = False`, the only way to keep its statistics in Keras 3."""
    cut = cut_classifier(mobilenet, 3, "frozen")

    assert not [name for name in cut.trained if name.endswith("BN") or name.endswith("bn")]
    assert not mobilenet.model.get_layer("Conv_1_bn").trainable


def test_batch_norm_trains_where_it_is_asked_to(mobilenet: Classifier) -> None:
    """With `batch_norm: train`, batch normalization above the cut is trained, and everything below is frozen."""
    cut = cut_classifier(mobilenet, 1, "train")

    assert cut.trained == ("Conv_1", "Conv_1_bn", "head_logits")


@pytest.mark.slow
def test_a_cut_inside_a_dense_block_crosses_several_tensors() -> None:
    """With several tensors at the cut, tail(trunk(x)) still equals the uncut classifier."""
    classifier = build_classifier(tiny_config(Path("unused"), backbone=DENSE), 2)
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    cut = cut_classifier(classifier, "conv5_block14_2_conv")
    assert cut.trunk is not None
    logits = cut.tail(cut.trunk([x]))
    whole = classifier.model(x)

    assert len(cut.crossing) == 2
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), whole, rtol=1e-5)


def test_a_second_cut_is_independent_of_the_first(mobilenet: Classifier) -> None:
    """A second cut is correct although the sub-models of the first added nodes to shared layers."""
    first = cut_classifier(mobilenet, 3).crossing
    cut_classifier(mobilenet, 0)
    cut_classifier(mobilenet, "all")

    assert cut_classifier(mobilenet, 3).crossing == first


def test_too_many_layers_are_refused_with_the_number_there_is(convnet: Classifier) -> None:
    """A number above that of the backbone's layers is an error and does not mean `all`."""
    with pytest.raises(CutError) as caught:
        cut_classifier(convnet, 3)

    assert caught.value.code == "cut-too-many-layers"
    assert (caught.value.facts["received"], caught.value.facts["expected"]) == (3, 2)


def test_an_unknown_layer_is_refused_with_near_names(mobilenet: Classifier) -> None:
    """The error suggests similar names if there are any."""
    with pytest.raises(CutError) as caught:
        cut_classifier(mobilenet, "block_16_projct")

    assert (caught.value.code, caught.value.facts["received"]) == ("cut-unknown-layer", "block_16_projct")
    assert caught.value.facts["suggestions"][0] == "block_16_project"  # type: ignore[index]
    with pytest.raises(CutError) as caught:
        cut_classifier(mobilenet, "nosuch")

    assert (caught.value.code, caught.value.facts["suggestions"]) == ("cut-unknown-layer", ())
