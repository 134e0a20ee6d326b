"""A summary lists the layers that would be trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncli.networks.architectures import keras_applications
from cnncli.networks.classifier import build_classifier
from cnncli.recipes.summary import summarize_backbone, summarize_config
from tests.support.drawing import draw_dataset, tiny_config


def test_a_summary_lists_shapes_parameters_and_what_trains(tmp_path: Path) -> None:
    """A summary lists shape, parameters and trainability of each layer, in graph order, and counts as Keras does."""
    config = tiny_config(draw_dataset(tmp_path, 1, 1, 1), mode="fine-tuning", training={"unfreeze": 1})
    summary = summarize_config(config)
    lines = {line.name: line for line in summary.layers}

    assert next(iter(lines)) == "pixels"
    assert lines["head_logits"].output_shape == (2,)
    assert lines["head_logits"].parameters == 8 * 2 + 2
    assert [name for name, line in lines.items() if line.trainable] == ["block2_conv", "head_logits"]
    assert summary.parameters == build_classifier(config, 2).model.count_params()
    assert summary.trainable_parameters == sum(line.parameters for line in summary.layers if line.trainable)


@pytest.mark.parametrize(("wanted", "rescalings"), [("imagenet", 2), pytest.param("none", 1, marks=pytest.mark.slow)])
def test_efficientnet_has_a_layer_more_with_imagenet_weights(
    wanted: str, rescalings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The additional layer for ImageNet weights is listed, and nothing is downloaded."""
    monkeypatch.setattr(keras_applications, "fetch", lambda _: pytest.fail("a summary downloads nothing"))
    config = tiny_config(draw_dataset(tmp_path, 1, 1, 1), backbone={"name": "EfficientNetB0", "weights": wanted})
    types = [line.type for line in summarize_config(config).layers]

    assert types.count("Rescaling") == rescalings
    assert types[-1] == "Activation"


def test_a_backbone_by_its_name_is_as_for_imagenet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a config, a backbone is summarized as for ImageNet weights, the default."""
    monkeypatch.setattr(keras_applications, "fetch", lambda _: pytest.fail("a summary downloads nothing"))

    assert [line.type for line in summarize_backbone("EfficientNetB0").layers].count("Rescaling") == 2
