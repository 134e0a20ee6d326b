"""The pool of inference requests of the OpenVINO engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cnncli.engines.openvino import OpenVinoEngine
from cnncli.errors import EngineError
from cnncli.runtime.threads import map_ordered

STREAMS = 4


class FakeRequest:
    """A request that doubles its input and fails for negative numbers."""

    def __init__(self) -> None:
        self._rows = np.zeros(1)

    def infer(self, inputs: list[np.ndarray]) -> None:
        """Store the rows, or raise an error if the first is negative."""
        self._rows = inputs[0]
        if self._rows[0] < 0:
            raise ArithmeticError(f"row {self._rows[0]:g}")

    def get_tensor(self, port: object) -> Any:
        """Return the doubled rows as a tensor."""
        return SimpleNamespace(data=2 * self._rows)


class FakeModel:
    """A compiled model whose input and output have one number per row."""

    outputs = (SimpleNamespace(shape=(1,)),)
    create_infer_request = FakeRequest

    def get_property(self, name: str) -> int:
        """Return the number of streams for any property."""
        return STREAMS


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> OpenVinoEngine:
    """Return an engine that runs the fake model with one row per request."""
    core = SimpleNamespace(compile_model=lambda *_: FakeModel())
    tensor: Callable[..., Any] = lambda array: SimpleNamespace(data=array)  # noqa: E731
    monkeypatch.setattr("cnncli.engines.openvino.read_graph", lambda path, batch: None)
    monkeypatch.setattr("cnncli.engines.openvino.the_core", lambda: core)
    monkeypatch.setattr("cnncli.engines.openvino.import_openvino", lambda: SimpleNamespace(Tensor=tensor))
    return OpenVinoEngine(Path("no.xml"), "float32", batch=1)


def test_a_failing_call_returns_its_request(engine: OpenVinoEngine) -> None:
    """A failing call returns its request to the pool, so that the next call can use all requests."""
    with pytest.raises(EngineError) as caught:
        engine.run([np.float32([1, -2, 3])])

    assert (caught.value.code, caught.value.facts["reason"]) == ("engine-graph-unusable", "row -2")
    assert engine._idle.qsize() == STREAMS
    assert engine.run([np.float32([1, 2, 3, 4, 5])])[0].tolist() == [2, 4, 6, 8, 10]


def test_rows_of_all_cores_are_returned_in_order(engine: OpenVinoEngine) -> None:
    """Calls from several threads give the rows of their inputs, and the error of a failing request."""
    inputs = [np.arange(n, n + 3, dtype=np.float32) for n in range(23)]

    assert [rows.tolist() for (rows,) in map_ordered(lambda numbers: engine.run([numbers]), inputs)] == [
        (2 * numbers).tolist() for numbers in inputs
    ]
    with pytest.raises(EngineError) as caught:
        list(map_ordered(lambda numbers: engine.run([numbers]), [*inputs, np.float32([1, 2, -1, 3])]))
    assert caught.value.facts["reason"] == "row -1"
    assert engine._idle.qsize() == STREAMS


@pytest.mark.parametrize(("n_workers", "is_free"), [(1, True), (4, False)])
def test_threads_of_a_part_of_the_cores_are_not_pinned(
    engine: OpenVinoEngine, monkeypatch: pytest.MonkeyPatch, n_workers: int, *, is_free: bool
) -> None:
    """Workers of a cluster with one thread each would otherwise all be pinned to the first core."""
    found: list[dict[str, str]] = []
    core = SimpleNamespace(compile_model=lambda graph, device, settings: (found.append(settings), FakeModel())[1])
    monkeypatch.setattr("cnncli.engines.openvino.the_core", lambda: core)
    monkeypatch.setattr("cnncli.engines.openvino.workers", lambda: n_workers)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    OpenVinoEngine(Path("no.xml"), "float32")
    assert [one.get("ENABLE_CPU_PINNING") == "NO" for one in found] == [is_free]
