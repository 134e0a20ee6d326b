"""OpenVINO's binding is made ready for threads before they use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cnncli.engines.openvino import convert_graph
from cnncli.networks.backend import import_keras

# Threads take turns as often as they can, so that the first looks at a tensor meet each other.
RACE = """
import sys, threading
from pathlib import Path
from cnncli.engines.openvino import OpenVinoEngine

sys.setswitchinterval(1e-6)
engine = OpenVinoEngine(Path(sys.argv[1]), "float32", batch=1, streams=2)
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
    """The smallest trunk there is."""
    path = tmp_path_factory.mktemp("graph") / "trunk.xml"
    keras = import_keras()
    pixels = keras.Input((4, 4, 3))
    convert_graph(keras.Model([pixels], [keras.layers.Flatten()(pixels)]), path, pixels=True)
    return path


def test_two_threads_may_be_the_first_to_look(graph: Path) -> None:
    """Once there is an engine, two threads that look at tensors at the same moment come to an end, time after time."""
    for _ in range(6):
        # Stuck threads hold Python's lock, so that only the parent can tell.
        subprocess.run([sys.executable, "-c", RACE, str(graph)], timeout=30, check=True)
