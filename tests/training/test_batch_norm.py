"""Fine-tuning keeps batch-norm statistics of a pretrained backbone bit for bit, or updates them on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from cnncli.networks.backbone import build_backbone
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import Classifier, build_classifier
from cnncli.training.stage_report import StageReport, WeightHashes
from tests.support import plain_keras
from tests.support.drawing import tiny_config
from tests.training.contexts import context_for, train_in

OPTIONS = {"filters": [4, 6, 8], "batch_norm": True, "padding": "same"}
Statistics = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small network with batch-norm statistics of images, as if it were pretrained."""
    file = tmp_path_factory.mktemp("weights") / "network.weights.h5"
    config = tiny_config(Path("unused"), backbone={"name": "ConvNet", "weights": "none", "options": OPTIONS})
    backbone = build_backbone(config.backbone, (32, 32, 3), seed=1)
    images = np.random.default_rng(0).uniform(0, 1, (8, 32, 32, 3)).astype(np.float32)
    plain_keras.settle(backbone, 1, images).save_weights(file)
    return file


def _statistics(model: Any) -> Statistics:
    return {weight.path: weight.numpy() for weight in model.weights if "moving" in weight.path}


def _moved(before: Statistics, after: Statistics) -> set[str]:
    """Return the layers whose statistics changed."""
    return {path.split("/")[0] for path, value in before.items() if value.tobytes() != after[path].tobytes()}


def _fine_tune(
    data: Path, weights: Path, store: Path, batch_norm: Literal["frozen", "train"]
) -> tuple[Classifier, Statistics, tuple[StageReport, ...]]:
    """Train the head and then everything from the second block on, and return the earlier statistics."""
    stages = [{"name": "head", "epochs": 1}, {"name": "top", "unfreeze": "block2_conv", "epochs": 2}]
    config = tiny_config(
        data,
        backbone={"name": "ConvNet", "weights": str(weights), "options": OPTIONS},
        training={"batch_norm": batch_norm, "stages": stages, "best": {"monitor": "loss"}, "batch_size": 8},
    )
    classifier = build_classifier(config, 2)
    before = _statistics(classifier.model)
    assert len(before) == 6
    outcome = train_in(context_for(config, store, engine="keras"), classifier, store / "run")
    return classifier, before, outcome.stages


def test_statistics_are_bit_equal_after_fine_tuning(data: Path, weights: Path, tmp_path: Path) -> None:
    """Statistics do not change below or above the cut while kernels train; the stage report's hash covers them."""
    classifier, before, (_, top) = _fine_tune(data, weights, tmp_path, "frozen")

    assert _moved(before, _statistics(classifier.model)) == set()
    assert top.plan.trained_layers == ("block2_conv", "block3_conv", "head_logits")
    assert top.frozen_weights_sha256[0] == top.frozen_weights_sha256[1]
    proof = WeightHashes.of(classifier, top.plan.trained_layers)
    assert proof.frozen == top.frozen_weights_sha256[1]
    mean = classifier.model.get_layer("block3_conv_bn").moving_mean
    mean.assign(np.nextafter(mean.numpy(), np.inf))
    assert WeightHashes.of(classifier, top.plan.trained_layers).frozen != proof.frozen, "one bit must show"


def test_statistics_move_above_the_cut_where_asked_to(data: Path, weights: Path, tmp_path: Path) -> None:
    """With `batch_norm: train`, statistics change above the cut, but not below."""
    classifier, before, (head, top) = _fine_tune(data, weights, tmp_path, "train")

    assert _moved(before, _statistics(classifier.model)) == {"block2_conv_bn", "block3_conv_bn"}
    assert "block3_conv_bn" in top.plan.trained_layers
    assert head.frozen_weights_sha256[0] == head.frozen_weights_sha256[1]


@pytest.mark.parametrize("freeze", [False, True], ids=["training=False", "trainable = False"])
def test_what_keeps_statistics_in_plain_keras(weights: Path, freeze: bool) -> None:
    """In Keras 3's `fit`, `trainable = False` keeps the statistics; calling the base with training=False does not."""
    keras = import_keras()
    config = tiny_config(Path("unused"), backbone={"name": "ConvNet", "weights": str(weights), "options": OPTIONS})
    base = build_backbone(config.backbone, (32, 32, 3), seed=1)
    for layer in base.layers:
        layer.trainable = not (freeze and isinstance(layer, keras.layers.BatchNormalization))
    inputs = keras.Input((32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(pooled))
    model.compile("sgd", "sparse_categorical_crossentropy")
    images = np.random.default_rng(1).uniform(0, 1, (8, 32, 32, 3)).astype(np.float32)
    before = _statistics(base)

    model.fit(images, np.arange(8) % 2, epochs=1, verbose=0)

    everywhere = {f"block{number}_conv_bn" for number in (1, 2, 3)}
    assert _moved(before, _statistics(base)) == (set() if freeze else everywhere)
