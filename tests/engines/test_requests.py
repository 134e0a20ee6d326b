"""Requests of the OpenVINO engine come back, whatever became of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cnncli.engines.engine import run_on_all_cores
from cnncli.engines.openvino import OpenVinoEngine
from cnncli.errors import EngineError

STREAMS = 4


class FakeRequest:
    """Doubles what it is given, but for negative numbers, which it cannot take."""

    def __init__(self) -> None:
        self._rows = np.zeros(1)

    def infer(self, inputs: list[np.ndarray]) -> None:
        """Take the rows."""
        self._rows = inputs[0]
        if self._rows[0] < 0:
            raise ArithmeticError(f"row {self._rows[0]:g}")

    def get_tensor(self, port: object) -> Any:
        """What came out."""
        return SimpleNamespace(data=2 * self._rows)


class FakeModel:
    """A compiled model with one input and one output of one number."""

    outputs = (SimpleNamespace(shape=(1,)),)
    create_infer_request = FakeRequest

    def get_property(self, name: str) -> int:
        """All of them count requests."""
        return STREAMS


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> OpenVinoEngine:
    """An engine on the fake model, a row to a request."""
    core = SimpleNamespace(compile_model=lambda *_: FakeModel())
    tensor: Callable[..., Any] = lambda array: SimpleNamespace(data=array)  # noqa: E731
    monkeypatch.setattr("cnncli.engines.openvino._checked_graph", lambda core, path, batch: None)
    monkeypatch.setattr("cnncli.engines.openvino.the_core", lambda: core)
    monkeypatch.setattr("cnncli.engines.openvino.import_openvino", lambda: SimpleNamespace(Tensor=tensor))
    return OpenVinoEngine(Path("no.xml"), "float32", batch=1)


def test_the_request_of_a_failing_call_comes_back(engine: OpenVinoEngine) -> None:
    """So that the next call has it."""
    with pytest.raises(EngineError, match=r"OpenVINO cannot run no\.xml: row -2"):
        engine.run([np.float32([1, -2, 3])])

    assert engine._idle.qsize() == STREAMS
    assert engine.run([np.float32([1, 2, 3, 4, 5])])[0].tolist() == [2, 4, 6, 8, 10]


def test_a_caller_that_is_alone_may_have_all_cores(engine: OpenVinoEngine) -> None:
    """Rows come in their order, whichever request computed them; a failure is raised."""
    numbers = np.arange(23, dtype=np.float32)

    assert run_on_all_cores(engine, [numbers])[0].tolist() == (2 * numbers).tolist()
    with pytest.raises(EngineError, match=r"OpenVINO cannot run no\.xml: row -1"):
        run_on_all_cores(engine, [np.float32([1, 2, -1, 3])])
    assert engine._idle.qsize() == STREAMS
