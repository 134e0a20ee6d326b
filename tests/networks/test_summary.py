"""A summary counts parameters as Keras does."""

from __future__ import annotations

from pathlib import Path

from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.summary import summarize
from tests.support.drawing import tiny_config


def test_a_summary_lists_shapes_parameters_and_what_trains() -> None:
    """A summary lists shape, parameters and trainability of each layer, in graph order."""
    classifier = build_classifier(tiny_config(Path("unused")), 2)
    cut_classifier(classifier, 1)
    summary = summarize(classifier.model)
    lines = {line.name: line for line in summary.layers}

    assert next(iter(lines)) == "pixels"
    assert lines["head_logits"].output_shape == (2,)
    assert lines["head_logits"].parameters == 8 * 2 + 2
    assert [name for name, line in lines.items() if line.trainable] == ["block2_conv", "head_logits"]
    assert summary.parameters == classifier.model.count_params()
    assert summary.trainable_parameters == sum(line.parameters for line in summary.layers if line.trainable)
