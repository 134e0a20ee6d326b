"""On a GPU the Keras engine tries XLA on a first request, and tells what XLA lacks from what the GPU lacks."""

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
    """Graphs by their name: of pixels, and of features."""
    cut = cut_classifier(build_classifier(tiny_config(Path("unused")), 2), 1)
    whole = cut_classifier(build_classifier(tiny_config(Path("unused")), 2), "all")
    return {"trunk": cut.trunk, "tail": cut.tail, "tail of an empty trunk": whole.tail}


class Compiler:
    """Stands in for TensorFlow's: keeps what functions with XLA are asked for, which fail where they are told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.dtypes: set[Any] = set()
        self.jit: list[bool] = []
        self._error = error

    def compile(self, engine: KerasEngine, jit: bool) -> Any:
        """A function that does nothing else."""
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
def test_the_first_request_is_like_those_to_come(
    parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, part: str, dtype: Any, precision: str
) -> None:
    """Pixels for what takes pixels, features for what takes features: others would be compiled for nothing."""
    compiler = Compiler()
    _engine(parts[part], compiler, monkeypatch, precision=precision)

    assert (compiler.dtypes, compiler.jit) == ({dtype}, [True])


def test_what_xla_lacks_is_done_without_it(parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that it has no kernel for."""
    import_keras()
    import tensorflow as tf

    compiler = Compiler(tf.errors.UnimplementedError(None, None, "no deterministic kernel"))
    _engine(parts["trunk"], compiler, monkeypatch)

    assert compiler.jit == [True, False]


def test_a_full_gpu_is_no_lack_of_xla(parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the request would need no less; what can be done is said."""
    import_keras()
    import tensorflow as tf

    compiler = Compiler(tf.errors.ResourceExhaustedError(None, None, "out of memory"))
    with pytest.raises(EngineError) as caught:
        _engine(parts["trunk"], compiler, monkeypatch, batch=32)

    assert (caught.value.code, caught.value.facts["batch"]) == ("engine-gpu-memory", 32)
    assert compiler.jit == [True]
