"""Converting graphs for OpenVINO, protecting them with checksums, and falling back to Keras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnncli.engines.build import build_engine, converted_graph
from cnncli.engines.engine import EngineChoice
from cnncli.errors import EngineError, Message
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import Cut, cut_classifier
from tests.support.drawing import tiny_config
from tests.support.logged import codes_in

FLOAT32 = EngineChoice("openvino", "float32")


@pytest.fixture(scope="module")
def cut() -> Cut:
    """Return a ConvNet that is cut after its backbone."""
    return cut_classifier(build_classifier(tiny_config(Path("unused")), 2), 0)


def test_a_graph_is_converted_once(cut: Cut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that was converted before is loaded from the cache instead of being converted again."""
    first = converted_graph(cut.trunk, "a" * 64, tmp_path)
    monkeypatch.setattr("cnncli.engines.build.convert_graph", None)

    assert converted_graph(cut.trunk, "a" * 64, tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == [first.parent.name]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "no checksums"])
def test_a_damaged_graph_is_converted_again(
    cut: Cut, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A converted graph with a changed, truncated or missing file is converted again, with one warning."""
    graph = converted_graph(cut.trunk, "a" * 64, tmp_path)
    weights = graph.with_suffix(".bin")
    original = weights.read_bytes()
    match damage:
        case "flip":
            weights.write_bytes(bytes([original[0] ^ 64]) + original[1:])
        case "truncate":
            weights.write_bytes(original[: len(original) // 2])
        case "remove":
            weights.unlink()
        case "no checksums":
            (graph.parent / "sha256.json").unlink()

    assert converted_graph(cut.trunk, "a" * 64, tmp_path).with_suffix(".bin").read_bytes() == original
    assert codes_in(caplog) == ["cache-damaged"]


def test_keras_runs_a_graph_that_openvino_does_not_support(
    cut: Cut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If OpenVINO does not support a graph, Keras runs it in float32, with one warning and no files in the cache."""

    def refuse(*_: object, **__: object) -> None:
        raise EngineError("no such operation")

    monkeypatch.setattr("cnncli.engines.build.convert_graph", refuse)
    with caplog.at_level("WARNING", logger="cnncli"):
        engine, graph = build_engine(cut.trunk, "a" * 64, EngineChoice("openvino", "bfloat16"), tmp_path)

    assert (engine.choice, graph) == (EngineChoice("keras", "float32"), None)
    (record,) = [record for record in caplog.records if record.name == "cnncli.engines.build"]
    assert isinstance(record.msg, Message)
    assert (record.levelname, record.msg.code) == ("WARNING", "engine-fallback")
    assert record.msg.facts["reason"] == "no such operation"
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_openvino_cannot_read_is_an_engine_error(cut: Cut, tmp_path: Path) -> None:
    """A damaged graph raises an `EngineError` with its path, which the fallback to Keras handles."""
    from cnncli.engines.openvino import OpenVinoEngine

    (tmp_path / "trunk.xml").write_text("<net")
    with pytest.raises(EngineError) as caught:
        OpenVinoEngine(tmp_path / "trunk.xml", "float32")
    assert (caught.value.code, caught.value.facts["path"]) == ("engine-graph-unusable", tmp_path / "trunk.xml")


def test_both_engines_give_the_same_features(cut: Cut, tmp_path: Path) -> None:
    """OpenVINO and Keras compute the same features up to rounding errors of float32."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    openvino, _ = build_engine(cut.trunk, "a" * 64, FLOAT32, tmp_path)
    keras, _ = build_engine(cut.trunk, "a" * 64, EngineChoice("keras", "float32"), tmp_path)

    np.testing.assert_allclose(openvino.run([pixels])[0], keras.run([pixels])[0], rtol=1e-4, atol=1e-6)
