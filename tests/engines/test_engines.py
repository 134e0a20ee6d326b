"""Features computed by both engines: their values, and their independence of batches and threads."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.engines import openvino
from cnncli.engines.build import choose_engine
from cnncli.engines.engine import BATCH, Engine, EngineChoice, padded_batches
from cnncli.engines.keras import KerasEngine
from cnncli.engines.openvino import MAX_STREAMS, OpenVinoEngine, convert_graph, has_bfloat16, streams_for
from cnncli.errors import EngineError
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import Cut, cut_classifier
from cnncli.runtime.threads import workers
from tests.support.drawing import tiny_config

Build = Callable[[str, Any], Engine]
BACKBONE = {"name": "MobileNetV2", "weights": "none", "options": {"alpha": 0.35}}
BFLOAT16 = pytest.param(
    "bfloat16", marks=pytest.mark.skipif(not has_bfloat16(), reason="this processor does not compute in bfloat16")
)


@pytest.fixture(scope="module")
def cut() -> Cut:
    """Return a network that is cut inside a residual block, so that two tensors cross the cut."""
    classifier = build_classifier(tiny_config(Path("unused"), backbone=BACKBONE), 2)
    return cut_classifier(classifier, "block_15_project")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Return more images than fit into one batch, but not a multiple of the batch size."""
    return np.random.default_rng(0).integers(0, 256, (BATCH + 5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def build(cut: Cut, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return a function that builds each engine once, of a trunk that is converted once."""
    graph = tmp_path_factory.mktemp("graph") / "trunk.xml"

    @functools.cache
    def engine(name: str, precision: Any) -> Engine:
        if name == "keras":
            return KerasEngine(cut.trunk, precision)
        if not graph.exists():
            convert_graph(cut.trunk, graph, pixels=True)
        return OpenVinoEngine(graph, precision)

    return engine


@pytest.mark.parametrize("name", ["keras", "openvino"])
def test_features_match_plain_keras(name: str, cut: Cut, pixels: np.ndarray, build: Build) -> None:
    """The float32 features of both engines match plain Keras for each tensor that crosses the cut, in order."""
    features = build(name, "float32").run([pixels])
    assert cut.trunk is not None
    expected = [tensor.numpy() for tensor in cut.trunk([pixels.astype(np.float32)])]

    assert [array.shape[1:] for array in features] == [shape for _, shape in cut.crossing]
    for array, truth in zip(features, expected, strict=True):
        np.testing.assert_allclose(array, truth, atol=1e-5 * np.abs(truth).max())


@pytest.mark.parametrize("precision", ["float32", BFLOAT16])
@pytest.mark.parametrize("name", ["keras", "openvino"])
def test_features_do_not_depend_on_neighbors(name: str, precision: str, pixels: np.ndarray, build: Build) -> None:
    """The features of an image are bit-identical whatever its position and the other images in the batch."""
    engine = build(name, precision)
    order = np.random.default_rng(1).permutation(len(pixels))
    straight, shuffled = engine.run([pixels]), engine.run([pixels[order]])

    for one, other in zip(straight, shuffled, strict=True):
        assert one[order].tobytes() == other.tobytes()


def test_openvino_is_not_loaded_for_a_processor_without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO, which takes time to load, is only asked about bfloat16 where the processor may have it."""

    def refuse() -> None:
        raise AssertionError

    answer = has_bfloat16()
    monkeypatch.setattr(openvino, "cpu", lambda: {"flags": None})
    assert has_bfloat16() == answer

    monkeypatch.setattr(openvino, "the_core", refuse)
    monkeypatch.setattr(openvino, "cpu", lambda: {"flags": ["avx", "avx2", "fma"]})
    assert not has_bfloat16()


def test_rows_of_a_matrix_product_do_not_depend_on_neighbors() -> None:
    """The output of a dense layer on a batch of vectors is bit-identical for each row at every position."""
    keras = import_keras()
    features = keras.Input((1280,), name="features")
    engine = KerasEngine(keras.Model([features], [keras.layers.Dense(10)(features)]), "float32")
    rows = np.random.default_rng(3).normal(size=(BATCH, 1280)).astype(np.float32)

    assert engine.run([rows])[0][::-1].tobytes() == engine.run([rows[::-1]])[0].tobytes()


def test_a_tail_receives_its_tensors_in_the_order_of_the_cut(cut: Cut, tmp_path: Path) -> None:
    """A converted tail receives its input tensors in the order of the cut."""
    rng = np.random.default_rng(2)
    features = [rng.normal(size=(3, *shape)).astype(np.float32) for _, shape in cut.crossing]
    convert_graph(cut.tail, tmp_path / "tail.xml", pixels=False)
    (logits,) = OpenVinoEngine(tmp_path / "tail.xml", "float32").run(features)

    np.testing.assert_allclose(logits, cut.tail(features), rtol=1e-4, atol=1e-5)


def test_batches_are_padded() -> None:
    """The last batch is padded with copies of its last row, and only the real rows are part of the result."""
    first, second = padded_batches([np.arange(5)], 4)

    assert [first[0], second[0]] == [slice(0, 4), slice(4, 5)]
    assert [first[1][0].tolist(), second[1][0].tolist()] == [[0, 1, 2, 3], [4, 4, 4, 4]]


@pytest.mark.parametrize("precision", ["float32", BFLOAT16])
@pytest.mark.parametrize("name", ["keras", "openvino"])
def test_many_threads_can_run_an_engine(name: str, precision: str, pixels: np.ndarray, build: Build) -> None:
    """More threads than requests can run an engine at once, with the same bits as a single thread."""
    engine = build(name, precision)
    alone = engine.run([pixels])
    parts = [np.arange(start, start + 5) for start in range(len(pixels) - 4)]
    with ThreadPoolExecutor(4 * engine.streams) as pool:
        results = list(pool.map(lambda rows: engine.run([pixels[rows]]), parts))

    for rows, result in zip(parts, results, strict=True):
        for one, other in zip(alone, result, strict=True):
            assert one[rows].tobytes() == other.tobytes()


@pytest.mark.skipif(workers() > MAX_STREAMS, reason="more cores than streams")
def test_each_request_is_computed_by_one_core(build: Build) -> None:
    """Each request uses one thread, so that features do not depend on the number of cores."""
    engine = build("openvino", "float32")

    assert (engine.streams, engine.identity["threads"]) == (workers(), 1)


@pytest.mark.parametrize("cores", range(1, 130))
def test_requests_share_the_cores(cores: int) -> None:
    """At most `MAX_STREAMS` requests, with as few threads as possible, leave fewer cores idle than one request uses."""
    streams, threads = streams_for(cores)

    assert 1 <= streams <= MAX_STREAMS
    assert cores - streams * threads < threads
    assert threads == 1 or cores / (threads - 1) > MAX_STREAMS


def test_auto_is_openvino_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU, `auto` selects OpenVINO, in bfloat16 if the processor supports it and otherwise in float32."""
    monkeypatch.setattr("cnncli.engines.build.gpus", lambda: ())
    monkeypatch.setattr("cnncli.engines.build.has_bfloat16", lambda: True)
    assert choose_engine("auto", "auto") == EngineChoice("openvino", "bfloat16")
    monkeypatch.setattr("cnncli.engines.build.has_bfloat16", lambda: False)

    assert choose_engine("auto", "auto") == EngineChoice("openvino", "float32")
    assert choose_engine("keras", "auto") == EngineChoice("keras", "float32")


def test_auto_is_keras_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a GPU, `auto` selects Keras in bfloat16."""
    monkeypatch.setattr("cnncli.engines.build.gpus", lambda: ("a GPU",))

    assert choose_engine("auto", "auto") == EngineChoice("keras", "bfloat16")


def test_bfloat16_is_refused_without_hardware_support(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 is refused if the processor does not support it, because emulation would be slower than float32."""
    monkeypatch.setattr("cnncli.engines.build.has_bfloat16", lambda: False)
    with pytest.raises(EngineError) as caught:
        choose_engine("openvino", "bfloat16")

    assert (caught.value.code, caught.value.facts["received"]) == ("engine-no-bfloat16", "bfloat16")


def test_importing_openvino_leaves_an_empty_home_empty(tmp_path: Path) -> None:
    """Importing OpenVINO does not write to the home folder, because its telemetry is disabled."""
    code = "from cnncli.engines.openvino import import_openvino; import_openvino().Core()"
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, env=environment, timeout=120)

    assert list(tmp_path.iterdir()) == []


def test_signals_arrive_after_engines_were_deleted(tmp_path: Path) -> None:
    """After engines are deleted in any order, the process can still receive signals."""
    code = """
import faulthandler, signal
from pathlib import Path
import openvino
from openvino import opset13
from cnncli.engines.openvino import OpenVinoEngine

faulthandler.enable()
pixels = opset13.parameter([1, 4])
openvino.save_model(openvino.Model([opset13.relu(pixels)], [pixels]), "graph.xml")
first = OpenVinoEngine(Path("graph.xml"), "float32")
second = OpenVinoEngine(Path("graph.xml"), "float32")
del first
del second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("arrived")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )

    assert (done.returncode, done.stdout) == (0, "arrived\n"), done.stderr
