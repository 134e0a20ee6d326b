"""Refusing OpenVINO graphs that cnncli could not have written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cnncli.engines.openvino import OpenVinoEngine, convert_graph
from cnncli.errors import EngineError
from cnncli.networks.backend import import_keras


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Return a converted graph with a convolution and a dense layer."""
    keras = import_keras()
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, padding="same")(pixels))
    model = keras.Model([pixels], keras.layers.Dense(2)(x))
    convert_graph(model, tmp_path / "trunk.xml", pixels=True)
    return tmp_path / "trunk.xml"


def test_a_converted_graph_runs(graph: Path) -> None:
    """A graph that cnncli converted passes the checks and runs."""
    (logits,) = OpenVinoEngine(graph, "float32").run([np.zeros((3, 8, 8, 3), np.uint8)])
    assert logits.shape == (3, 2)


Change = Callable[[str], str]


def _replacing(pattern: str, text: str) -> Change:
    return lambda xml: re.sub(pattern, text, xml, count=1)


def _padded(xml: str) -> str:
    """Return the graph with a million pixels of padding on each side of its images."""
    wide = re.sub(r"(pads_begin|pads_end)=\"[^\"]*\"", r"\1=\"1000000, 1000000\"", xml)
    return re.sub(r"auto_pad=\"[^\"]*\"", 'auto_pad="explicit"', wide)


def _refused(path: Path, batch: int | None = None) -> str:
    """Check that a graph is refused in one line with its path, and return the reason."""
    with pytest.raises(EngineError) as caught:
        OpenVinoEngine(path, "float32", batch)
    assert (caught.value.code, caught.value.facts["path"]) == ("engine-graph-unusable", path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value.facts["reason"])


@pytest.mark.parametrize(
    "change",
    [
        lambda xml: "",
        lambda xml: "\x08\x07" + xml,
        lambda xml: xml.replace("<net", '<!DOCTYPE net [<!ENTITY a "b">]><net', 1),
        _replacing('type="Convolution"', 'type="Loop"'),
        _replacing('type="Convolution"', 'type="Tile"'),
        _replacing('type="Convolution"', 'type="Evil"'),
        _replacing("<layers>", "<layers>" + '<layer type="x"/>' * 20_001),
        _padded,
        _replacing(r'offset="0"', 'offset="1099511627776"'),
    ],
)
def test_a_graph_that_cnncli_could_not_have_written_is_refused(change: Change, graph: Path) -> None:
    """Graphs with changed layers, sizes or offsets, and files that are not graphs, are refused."""
    graph.write_text(change(graph.read_text(encoding="utf-8")), encoding="utf-8")

    assert _refused(graph)


def test_huge_constants_are_refused_before_they_are_computed(tmp_path: Path) -> None:
    """Huge constants are refused before OpenVINO computes them, which would turn four bytes into a terabyte."""
    from openvino import Model, save_model
    from openvino import opset13 as ops

    pixels = ops.parameter([-1, 4], np.float32)
    grown = ops.broadcast(ops.constant(np.float32(1)), ops.constant(np.int64([2**19, 2**19])))
    model = Model([ops.add(pixels, ops.reduce_sum(grown, ops.constant(np.int64([0, 1]))))], [pixels])
    save_model(model, tmp_path / "trunk.xml", compress_to_fp16=False)

    assert grown.get_friendly_name() in _refused(tmp_path / "trunk.xml")


def test_a_huge_expansion_of_the_input_is_refused(tmp_path: Path) -> None:
    """A graph that expands its input to more values than any image has is refused."""
    from openvino import Model, save_model
    from openvino import opset13 as ops

    pixels = ops.parameter([-1, 4], np.float32)
    wide = ops.broadcast(
        ops.unsqueeze(pixels, ops.constant(np.int64(2))), ops.constant(np.int64([1, 4, 2**28])), "BIDIRECTIONAL"
    )
    save_model(Model([wide], [pixels]), tmp_path / "trunk.xml", compress_to_fp16=False)

    assert wide.get_friendly_name() in _refused(tmp_path / "trunk.xml", batch=1)
