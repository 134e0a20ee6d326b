"""The OpenVINO engine: a graph converted once, compiled for this processor, in float32 or bfloat16."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from cnncli.engines.engine import BATCH, Array, EngineChoice, Precision, padded_batches
from cnncli.engines.graph_check import check_graph, check_graph_file
from cnncli.errors import EngineError, Message, printable
from cnncli.runtime.environment import package_version, processor
from cnncli.runtime.threads import workers

if TYPE_CHECKING:
    import keras

TRUNK, TAIL, LOGITS = "trunk.xml", "tail.xml", "logits.xml"
"""Names of the parts of a classifier, in a run and in the cache. A tail in bfloat16 ends below its last layer, which
follows as a part of its own: OpenVINO has one precision for a graph, and logits are float32."""

MOST_STREAMS = 8
"""Each stream has the memory of its own activations; more cores than this share streams."""


def streams_for(cores: int) -> tuple[int, int]:
    """How many requests run side by side, and the threads of each: as few as leave at most `MOST_STREAMS` of them.

    >>> streams_for(8), streams_for(12)
    ((8, 1), (6, 2))
    """
    threads = -(-cores // MOST_STREAMS)
    return cores // threads, threads


def import_openvino() -> Any:
    """Import openvino without its telemetry.

    Left alone, the import sends a usage event and writes an identifier into the home folder.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


@cache
def the_core() -> Any:
    """Return OpenVINO's core, one for the whole process, which is never released.

    Its CPU plug-in gives the thread that makes a core another stack for signals, and takes it away again with the core.
    Of two cores, what is left may be the stack of the one that has gone: the next Ctrl-C would be a segmentation fault.
    """
    return import_openvino().Core()


def conversion_versions() -> str:
    """Return the versions of the packages that convert a Keras graph; other versions may give another graph."""
    return "-".join(f"{name}{package_version(name)}" for name in ("openvino", "tensorflow", "keras"))


def has_bfloat16() -> bool:
    """Whether this processor computes in bfloat16 (AMX, AVX-512-BF16)."""
    return "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def convert_graph(model: keras.Model, path: Path, *, pixels: bool) -> None:
    """Write a Keras graph as an OpenVINO model, `path` and the `.bin` beside it.

    Args:
        model: any functional model.
        path: an `.xml` file; its folder exists.
        pixels: whether its only input are images: then it takes uint8, and the conversion is part of the graph.

    Raises:
        EngineError: OpenVINO cannot express the graph; the message names the operation where it is known.
        OSError: it cannot be written.
    """
    import tensorflow as tf

    openvino = import_openvino()
    signature = [tf.TensorSpec((None, *tensor.shape[1:]), tf.float32) for tensor in model.inputs]
    function = tf.function(lambda *inputs: model(list(inputs), training=False), autograph=False)
    concrete = function.get_concrete_function(*signature)
    try:
        converted = openvino.convert_model(concrete)
        _restore_shapes(converted, model)
        converted = _in_order(converted, [tensor.name for tensor in concrete.outputs])
        if pixels:
            processor = openvino.preprocess.PrePostProcessor(converted)
            processor.input().tensor().set_element_type(openvino.Type.u8)
            converted = processor.build()
    except Exception as error:  # OpenVINO's exceptions have no common base class
        reason = _last_line(error)
        text = f"OpenVINO cannot take this graph: {reason}"
        raise EngineError(Message("engine-graph-unsupported", text, reason=reason)) from error
    try:
        openvino.save_model(converted, path, compress_to_fp16=False)
    except RuntimeError as error:  # a full disk, as C++ says it: basic_ios::clear
        is_full = shutil.disk_usage(path.parent).free < 2**20
        code = errno.ENOSPC if is_full else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


_NUMPY: dict[Precision, Any] = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}


class OpenVinoEngine:
    """A compiled OpenVINO model whose requests run side by side, one on a core.

    That is faster than one request on all cores, leaves no core waiting while another thread decodes, and makes the
    bits of a result independent of the number of cores (up to `MOST_STREAMS` of them).
    """

    def __init__(
        self,
        path: Path,
        precision: Precision,
        batch: int | None = None,
        streams: int | None = None,
        dtype: Precision | None = None,
    ) -> None:
        """Read and compile.

        Args:
            path: the `.xml` file that `convert_graph` wrote.
            precision: of the arithmetic.
            batch: rows in a request; default: `BATCH`.
            streams: requests that run side by side, sharing the cores; default: `streams_for` them.
            dtype: of the arrays that come out; default: the precision.

        Raises:
            EngineError: OpenVINO cannot read or compile the file.
        """
        self._path, self._precision = path, precision
        self._dtype = _NUMPY[dtype or precision]
        self.batch = batch or BATCH
        core = the_core()
        side_by_side, threads = (streams, workers() // streams) if streams else streams_for(workers())
        settings = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "NUM_STREAMS": str(side_by_side),
            "INFERENCE_NUM_THREADS": str(side_by_side * threads),
        }
        try:
            self._compiled = core.compile_model(_checked_graph(core, path, self.batch), "CPU", settings)
        except Exception as error:  # OpenVINO's exceptions have no common base class
            raise EngineError(_cannot_run(path, error)) from error
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.streams):
            self._idle.put(self._compiled.create_infer_request())
        _make_dtype_table()

    @property
    def choice(self) -> EngineChoice:
        """See `Engine.choice`."""
        return EngineChoice("openvino", self._precision)

    @property
    def streams(self) -> int:
        """See `Engine.streams`."""
        return int(self._compiled.get_property("NUM_STREAMS"))

    @property
    def identity(self) -> Mapping[str, str | int]:
        """See `Engine.identity`."""
        return {
            "engine": "openvino",
            "version": conversion_versions(),
            "precision": self._precision,
            "processor": processor(),
            "threads": int(self._compiled.get_property("INFERENCE_NUM_THREADS")) // self.streams,
            "batch": self.batch,
        }

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See `Engine.run`; what comes out is bfloat16 or float32, as `dtype` says."""
        outputs = [np.empty((len(inputs[0]), *port.shape[1:]), self._dtype) for port in self._compiled.outputs]
        request = self._idle.get()
        try:
            for rows, batch in padded_batches(inputs, self.batch):
                request.infer([np.ascontiguousarray(_plain(array)) for array in batch])
                for output, port in zip(outputs, self._compiled.outputs, strict=True):
                    output[rows] = request.get_tensor(port).data[: rows.stop - rows.start]
        except Exception as error:  # an input of another shape, in a graph that was put in place of the run's
            raise EngineError(_cannot_run(self._path, error)) from error
        finally:
            self._idle.put(request)
        return outputs


def _checked_graph(core: Any, path: Path, batch: int) -> Any:
    """Read a model, set its batch size, and check that it is safe to compile."""
    check_graph_file(path)
    model = core.read_model(path)
    model.reshape({port: [batch, *list(port.get_partial_shape())[1:]] for port in model.inputs})
    check_graph(model, batch, path.with_suffix(".bin").stat().st_size)
    return model


def _make_dtype_table() -> None:
    """Have OpenVINO's binding make its table of NumPy dtypes now, in one thread.

    It does so at the first look at a tensor's array. Two threads that look first at the same time can wait for each
    other for ever: one makes the table and wants Python's lock, the other has the lock and wants the table.
    """
    np.asarray(import_openvino().Tensor(np.zeros(1, np.float32)).data)


def _cannot_run(path: Path, error: Exception) -> Message:
    reason = _last_line(error)
    return Message(
        "engine-graph-unusable", f"OpenVINO cannot run {printable(path)}: {reason}", path=path, reason=reason
    )


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _plain(array: Array) -> Array:
    """uint8 as it is, anything else (NumPy has no bfloat16 of its own) as float32."""
    return array if array.dtype == np.uint8 else array.astype(np.float32, copy=False)


def _in_order(converted: Any, names: Sequence[str]) -> Any:
    """Reorder the outputs of a model by name: conversion sorts `Identity_10` before `Identity_2`."""
    outputs = [converted.output(name) for name in names]
    return import_openvino().Model(outputs, converted.get_parameters(), converted.get_friendly_name())


def _restore_shapes(converted: Any, model: keras.Model) -> None:
    """Give inputs the static shapes that conversion may have lost, by position."""
    converted.reshape(
        {port: [-1, *tensor.shape[1:]] for port, tensor in zip(converted.inputs, model.inputs, strict=True)}
    )
