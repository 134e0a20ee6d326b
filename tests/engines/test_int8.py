"""Graphs in 8-bit integers: quantized by NNCF, run by OpenVINO."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnncli.engines import int8
from cnncli.engines.build import choose_engine
from cnncli.engines.int8 import quantize_graph
from cnncli.engines.openvino import OpenVinoEngine, convert_graph
from cnncli.errors import EngineError
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import cut_classifier
from tests.support import plain_keras
from tests.support.drawing import draw_image, tiny_config
from tests.support.parity import relative

IMPORT = """
import logging
from cnncli.engines.int8 import _import_nncf
_import_nncf()
assert logging.getLoggerClass() is logging.Logger
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convert the trunk of a small network."""
    path = tmp_path_factory.mktemp("graph") / "trunk.xml"
    classifier = build_classifier(tiny_config(Path("unused")), 2)
    plain_keras.vary(classifier.model, 1)
    trunk = cut_classifier(classifier, 0).trunk
    assert trunk is not None
    convert_graph(trunk, path, pixels=True)
    return path


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Draw images."""
    return np.stack([draw_image("dots", seed) for seed in range(16)])


@pytest.fixture(scope="module")
def quantized(graph: Path, pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Quantize the trunk."""
    path = tmp_path_factory.mktemp("quantized") / "trunk.xml"
    quantize_graph(graph, [[one[None]] for one in pixels], path, "fast")
    return path


def test_quantized_features_are_close_to_those_in_float32(graph: Path, quantized: Path, pixels: np.ndarray) -> None:
    """Features in int8 equal those in float32 within 10 %, but not exactly, and have the type bfloat16."""
    (expected,) = OpenVinoEngine(graph, "float32").run([pixels])
    (found,) = OpenVinoEngine(quantized, "int8").run([pixels])

    assert found.dtype == "bfloat16"
    assert 1e-3 < relative(found, expected) < 0.1


def test_weights_are_stored_as_8_bit_integers(graph: Path, quantized: Path) -> None:
    """The file of constants of a quantized graph is less than half as large."""
    assert quantized.with_suffix(".bin").stat().st_size < graph.with_suffix(".bin").stat().st_size / 2


@pytest.mark.parametrize("correction", ["fast", "full"])
def test_quantizing_again_gives_the_same_features(
    graph: Path, pixels: np.ndarray, tmp_path: Path, correction: int8.BiasCorrection
) -> None:
    """Two quantized graphs from the same images have the same identity and give equal bits."""
    engines = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        quantize_graph(graph, [[one[None]] for one in pixels], tmp_path / name / "trunk.xml", correction)
        engines.append(OpenVinoEngine(tmp_path / name / "trunk.xml", "int8"))

    assert engines[0].identity == engines[1].identity
    np.testing.assert_array_equal(engines[0].run([pixels])[0], engines[1].run([pixels])[0])


def test_the_identity_depends_on_the_ranges(graph: Path, quantized: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    """Graphs that other images calibrated have another identity, so that their features are not mixed."""
    quantize_graph(graph, [[one[None] // 3] for one in pixels], tmp_path / "trunk.xml", "fast")

    assert OpenVinoEngine(quantized, "int8").identity != OpenVinoEngine(tmp_path / "trunk.xml", "int8").identity


def test_importing_nncf_leaves_an_empty_home_empty(tmp_path: Path) -> None:
    """NNCF sends no usage events, which would write to the home folder, and does not change the loggers of others."""
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", IMPORT], check=True, env=environment)

    assert list(tmp_path.iterdir()) == []


def test_quantizing_prints_nothing(graph: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Progress and messages of NNCF stay off the screen, where results go to stdout."""
    quantize_graph(graph, [[np.zeros((1, 32, 32, 3), np.uint8)]], tmp_path / "trunk.xml", "fast")

    assert capfd.readouterr() == ("", "")


def test_an_unreadable_graph_is_an_engine_error(tmp_path: Path) -> None:
    """If NNCF cannot quantize a graph, the error has a code."""
    (tmp_path / "trunk.xml").write_text("<net/>")
    with pytest.raises(EngineError) as caught:
        quantize_graph(tmp_path / "trunk.xml", [[np.zeros((1, 32, 32, 3), np.uint8)]], tmp_path / "new.xml", "fast")

    assert caught.value.code == "engine-int8-unsupported"


def test_int8_without_nncf_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A config that requests int8 where NNCF is not installed is an error."""
    monkeypatch.setattr(int8, "is_installed", lambda: False)
    with pytest.raises(EngineError) as caught:
        choose_engine("auto", "int8")

    assert (caught.value.code, caught.value.facts["key"]) == ("engine-int8-not-installed", "precision")
