"""The first request of the Keras engine on a GPU, which compiles the graph with XLA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.engines.keras import KerasEngine
from cnncli.errors import EngineError
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import cut_classifier
from tests.support.drawing import tiny_config


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """Return models that receive pixels or features, by name."""
    cut = cut_classifier(build_classifier(tiny_config(Path("unused")), 2), 1)
    whole = cut_classifier(build_classifier(tiny_config(Path("unused")), 2), "all")
    return {"trunk": cut.trunk, "tail": cut.tail, "tail of an empty trunk": whole.tail}


class Compiler:
    """A fake for TensorFlow's compiler whose functions record their requests and, with XLA, raise a given error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.dtypes: set[Any] = set()
        self.jit: list[bool] = []
        self._error = error

    def compile(self, engine: KerasEngine, jit: bool) -> Any:
        """Return a function that records the dtypes of its inputs."""
        self.jit.append(jit)

        def outputs(*inputs: np.ndarray) -> None:
            self.dtypes |= {array.dtype.type for array in inputs}
            if jit and self._error is not None:
                raise self._error

        return outputs


def _engine(model: Any, compiler: Compiler, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> KerasEngine:
    monkeypatch.setattr("cnncli.engines.keras.gpus", lambda: ("a GPU",))
    monkeypatch.setattr(KerasEngine, "_compile", lambda engine, jit: compiler.compile(engine, jit))
    return KerasEngine(model, settings.pop("precision", "float32"), **settings)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("part", "dtype"), [("trunk", np.uint8), ("tail", np.float32), ("tail of an empty trunk", np.uint8)]
)
def test_the_first_request_has_the_dtype_of_later_requests(
    parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, part: str, dtype: Any, precision: str
) -> None:
    """The first request has the same dtype as later requests, so that the graph is compiled only once."""
    compiler = Compiler()
    _engine(parts[part], compiler, monkeypatch, precision=precision)

    assert (compiler.dtypes, compiler.jit) == ({dtype}, [True])


def test_an_operation_that_xla_lacks_is_compiled_without_it(
    parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If XLA does not support an operation, the graph is compiled again without XLA."""
    import_keras()
    import tensorflow as tf

    compiler = Compiler(tf.errors.UnimplementedError(None, None, "no deterministic kernel"))
    _engine(parts["trunk"], compiler, monkeypatch)

    assert compiler.jit == [True, False]


def test_a_full_gpu_is_an_error(parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """If GPU memory is exhausted, an error with the batch size is raised, without another try without XLA."""
    import_keras()
    import tensorflow as tf

    compiler = Compiler(tf.errors.ResourceExhaustedError(None, None, "out of memory"))
    with pytest.raises(EngineError) as caught:
        _engine(parts["trunk"], compiler, monkeypatch, batch=32)

    assert (caught.value.code, caught.value.facts["batch"]) == ("engine-gpu-memory", 32)
    assert compiler.jit == [True]
