"""Threads and signals inside the Python binding of OpenVINO."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnncli.engines.openvino import convert_graph, import_openvino
from cnncli.networks.backend import import_keras
from cnncli.runtime.signals import raising

# The short switch interval makes it likely that both threads access a tensor for the first time at once.
RACE = """
import sys, threading
from pathlib import Path
from cnncli.engines.openvino import OpenVinoEngine

sys.setswitchinterval(1e-6)
engine = OpenVinoEngine(Path(sys.argv[1]), "float32", batch=2)
tensors = [engine._idle.get().get_output_tensor(0) for _ in range(2)]
together = threading.Barrier(2)

def look(tensor):
    together.wait()
    tensor.data

threads = [threading.Thread(target=look, args=(tensor,)) for tensor in tensors]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a converted minimal trunk."""
    path = tmp_path_factory.mktemp("graph") / "trunk.xml"
    convert_graph(smallest_trunk(), path, pixels=True)
    return path


def smallest_trunk() -> Any:
    """Return a Keras model that flattens an image."""
    keras = import_keras()
    pixels = keras.Input((4, 4, 3))
    return keras.Model([pixels], [keras.layers.Flatten()(pixels)])


@pytest.mark.parametrize("tries", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_two_threads_can_access_tensors_at_once(graph: Path, tries: int) -> None:
    """Two threads that access output tensors for the first time at the same moment do not deadlock."""
    for _ in range(tries):
        # Deadlocked threads hold Python's global lock, so only the parent process can detect them.
        subprocess.run([sys.executable, "-c", RACE, str(graph)], timeout=30, check=True)


def test_an_interrupted_conversion_raises_keyboard_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a conversion raises KeyboardInterrupt, although OpenVINO replaces exceptions of its callbacks."""
    import_openvino()
    from openvino.frontend.tensorflow.node_decoder import TFGraphNodeDecoder

    original = TFGraphNodeDecoder.get_op_name

    def interrupted(decoder: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(TFGraphNodeDecoder, "get_op_name", original)
        return original(decoder)

    monkeypatch.setattr(TFGraphNodeDecoder, "get_op_name", interrupted)
    with pytest.raises(KeyboardInterrupt), raising():
        convert_graph(smallest_trunk(), tmp_path / "trunk.xml", pixels=True)
