"""Requests of the OpenVINO engine come back, whatever became of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cnncli.engines.openvino import OpenVinoEngine

STREAMS = 4


class FakeRequest:
    """Doubles what it is given, or fails on rows that are told to."""

    def __init__(self) -> None:
        self._rows = np.zeros(1)

    def start_async(self, inputs: list[np.ndarray]) -> None:
        """Take the rows; a number above 99 cannot be taken."""
        self._rows = inputs[0]
        if self._rows[0] > 99:
            raise OverflowError(f"row {self._rows[0]:g}")

    def wait(self) -> None:
        """A negative number cannot be computed."""
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
    core = SimpleNamespace(
        read_model=lambda path: SimpleNamespace(inputs=(), reshape=lambda shapes: None),
        compile_model=lambda *_: FakeModel(),
    )
    tensor: Callable[..., Any] = lambda array: SimpleNamespace(data=array)  # noqa: E731
    fake = SimpleNamespace(Core=lambda: core, Tensor=tensor)
    monkeypatch.setattr("cnncli.engines.openvino.import_openvino", lambda: fake)
    return OpenVinoEngine(Path("no.xml"), "float32", batch=1)


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        pytest.param([1, -2, -3, -4], "row -2", id="while the last are waited for"),
        pytest.param([-1, 2, 3, -4, 5, 6], "row -1", id="while a free one is looked for"),
        pytest.param([-1, 2, 100], "row 100", id="after one could not start"),
    ],
)
def test_requests_of_a_failing_call_come_back(engine: OpenVinoEngine, rows: list[float], error: str) -> None:
    """All of them, so that the next call has them; what went wrong first is raised."""
    with pytest.raises(ArithmeticError) as caught:
        engine.run([np.float32(rows)])

    assert str(caught.value) == error
    assert engine._idle.qsize() == STREAMS
    assert engine.run([np.float32([1, 2, 3, 4, 5])])[0].tolist() == [2, 4, 6, 8, 10]
