"""The OpenVINO engine: a graph that is converted once and compiled for this processor, in its precision."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncli.engines.engine import BATCH, Array, EngineChoice, Precision, padded_batches
from cnncli.engines.graph_check import check_graph, check_graph_file
from cnncli.errors import EngineError, Message, printable
from cnncli.runtime.environment import cpu, package_version, processor
from cnncli.runtime.signals import noted
from cnncli.runtime.threads import workers

if TYPE_CHECKING:
    import keras

TRUNK, TAIL, LOGITS = "trunk.xml", "tail.xml", "logits.xml"
"""Names of the parts of a classifier, in a run and in the cache. A tail in bfloat16 ends below its last layer, which
is a separate part, because OpenVINO has one precision per graph, and logits are float32."""

MAX_STREAMS = 8
"""Each stream needs memory for its activations, so additional cores share streams."""

BFLOAT16_FLAGS = {"avx512f", "amx_bf16", "avx_ne_convert"}
"""Instructions without which a processor has no bfloat16, so that OpenVINO, which loads in 0.2 s, is not asked."""


def streams_for(cores: int) -> tuple[int, int]:
    """Return the number of parallel requests and the threads of each, with at most `MAX_STREAMS` requests.

    >>> streams_for(8), streams_for(12)
    ((8, 1), (6, 2))
    """
    threads = -(-cores // MAX_STREAMS)
    return cores // threads, threads


def import_openvino() -> Any:
    """Import openvino without its telemetry, which sends a usage event and writes to the home folder."""
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


@cache
def the_core() -> Any:
    """Return OpenVINO's core, one per process, which is never released.

    Its CPU plug-in sets a signal stack when a core is created and frees it with the core. After the first of two cores
    is released, the next Ctrl-C would cause a segmentation fault.
    """
    return import_openvino().Core()


def conversion_versions() -> str:
    """Return the versions of the packages that convert a Keras graph, since they determine the converted graph."""
    return "-".join(f"{name}{package_version(name)}" for name in ("openvino", "tensorflow", "keras"))


def has_bfloat16() -> bool:
    """Return whether this processor computes in bfloat16 (AMX, AVX-512-BF16)."""
    flags = cpu()["flags"]
    if flags is not None and BFLOAT16_FLAGS.isdisjoint(flags):
        return False
    return "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def convert_graph(model: keras.Model, path: Path, *, pixels: bool) -> None:
    """Write a Keras graph as an OpenVINO model to `path` and a `.bin` file next to it.

    Args:
        model: Any functional model.
        path: An `.xml` file in an existing folder.
        pixels: Whether the only input is images; the graph then takes uint8 and includes the conversion to float.

    Raises:
        EngineError: OpenVINO does not support the graph; the message names the operation if it is known.
        OSError: The files cannot be written.
    """
    import tensorflow as tf

    openvino = import_openvino()
    shapes = [tensor.shape[1:] for tensor in model.inputs]
    function = tf.function(lambda *inputs: model(list(inputs), training=False), autograph=False)
    concrete = function.get_concrete_function(*(tf.TensorSpec((None, *shape), tf.float32) for shape in shapes))
    with noted() as stop:  # OpenVINO calls Python, and would report a signal there as a graph that it cannot convert
        try:
            converted = openvino.convert_model(concrete)
            # Conversion may lose static shapes, and sorts outputs by name: Identity_10 before Identity_2.
            converted.reshape({port: [-1, *shape] for port, shape in zip(converted.inputs, shapes, strict=True)})
            outputs = [converted.output(tensor.name) for tensor in concrete.outputs]
            converted = openvino.Model(outputs, converted.get_parameters(), converted.get_friendly_name())
            if pixels:
                steps = openvino.preprocess.PrePostProcessor(converted)
                steps.input().tensor().set_element_type(openvino.Type.u8)
                converted = steps.build()
        except Exception as error:  # OpenVINO's exceptions have no common base class
            stop.obey()
            reason = _last_line(error)
            text = f"OpenVINO does not support this graph: {reason}"
            raise EngineError(Message("engine-graph-unsupported", text, reason=reason)) from error
    stop.obey()
    try:
        openvino.save_model(converted, path, compress_to_fp16=False)
    except RuntimeError as error:  # C++'s message for a full disk: basic_ios::clear
        code = errno.ENOSPC if shutil.disk_usage(path.parent).free < 2**20 else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


def _dtype_of(precision: Precision) -> Any:
    """Return the type of results; rounding to bfloat16 is small compared with a quantized graph."""
    if precision == "float32":
        return np.float32
    import ml_dtypes

    return ml_dtypes.bfloat16


class OpenVinoEngine:
    """A compiled OpenVINO model that runs several requests in parallel, one per core.

    This is faster than one request on all cores, keeps all cores busy while another thread decodes, and makes the bits
    of a result independent of the number of cores (up to `MAX_STREAMS`).

    Attributes:
        path: The `.xml` file of the graph.
    """

    def __init__(
        self,
        path: Path,
        precision: Precision,
        batch: int | None = None,
        dtype: Precision | None = None,
        *,
        when_needed: bool = False,
        adapt: Callable[[Any], None] | None = None,
    ) -> None:
        """Read and compile the `.xml` file written by `convert_graph`. Raises EngineError.

        With `when_needed`, the file is read and compiled for the first request, which cached features can save.
        By default, a request has `BATCH` rows, `streams_for` sets the number of parallel requests, which share the
        cores, and `dtype`, that of the results, is the engine's precision. `adapt` can add outputs to the graph before
        it is compiled.
        """
        self.choice = EngineChoice("openvino", precision)
        self.batch = batch or BATCH
        self.streams, self._threads = (1, workers()) if self.batch == 1 else streams_for(workers())
        self.path, self._results, self._adapt = path, dtype or precision, adapt
        self._compiling = threading.Lock()
        if not when_needed:
            self._compile()

    def _compile(self) -> Any:
        """Return the compiled graph, which is compiled once."""
        with self._compiling:
            return self._compiled

    @cached_property
    def _compiled(self) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.choice.precision == "bfloat16" else "f32",
            "NUM_STREAMS": str(self.streams),
            "INFERENCE_NUM_THREADS": str(n_threads := self.streams * self._threads),
        }
        if n_threads < (os.cpu_count() or 1):
            # OpenVINO pins threads to cores, always beginning with the first: several processes with a thread each,
            # such as the workers of a cluster, would share one core.
            settings["ENABLE_CPU_PINNING"] = "NO"
        try:
            graph = read_graph(self.path, self.batch)
            if self._adapt is not None:
                self._adapt(graph)
            compiled = the_core().compile_model(graph, "CPU", settings)
        except Exception as error:  # OpenVINO's exceptions have no common base class
            raise self._cannot_run(error) from error
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(int(compiled.get_property("NUM_STREAMS"))):
            self._idle.put(compiled.create_infer_request())
        # The first access to a tensor's array makes the binding's table of NumPy dtypes. If two threads did that at the
        # same time, each could wait for the other's lock for ever.
        np.asarray(import_openvino().Tensor(np.zeros(1, np.float32)).data)
        return compiled

    @property
    def identity(self) -> Mapping[str, str | int]:
        """See `Engine.identity`."""
        quantized = {"constants": self._constants_sha256} if self.choice.precision == "int8" else {}
        return {
            **quantized,
            "engine": "openvino",
            "version": conversion_versions(),
            "precision": self.choice.precision,
            "processor": processor(),
            "threads": self._threads,
            "batch": self.batch,
        }

    @cached_property
    def _constants_sha256(self) -> str:
        """SHA-256 of the constants of the graph: its weights, and the ranges of its activations.

        The text of a quantized graph has other names each time that it is made.
        """
        with self.path.with_suffix(".bin").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See `Engine.run`."""
        ports = self._compile().outputs
        dtype = _dtype_of(self._results)
        outputs = [np.empty((len(inputs[0]), *port.shape[1:]), dtype) for port in ports]
        request = self._idle.get()
        try:
            for rows, batch in padded_batches(inputs, self.batch):
                request.infer([_as_input(array) for array in batch])
                for output, port in zip(outputs, ports, strict=True):
                    output[rows] = request.get_tensor(port).data[: rows.stop - rows.start]
        except Exception as error:  # a graph that replaced the run's has an input of a different shape
            raise self._cannot_run(error) from error
        finally:
            self._idle.put(request)
        return outputs

    def _cannot_run(self, error: Exception) -> EngineError:
        reason = _last_line(error)
        text = f"OpenVINO cannot run {printable(self.path)}: {reason}"
        return EngineError(Message("engine-graph-unusable", text, path=self.path, reason=reason))


def read_graph(path: Path, batch: int) -> Any:
    """Read a model, set its batch size, and check that it is safe to compile."""
    check_graph_file(path)
    model = the_core().read_model(path)
    model.reshape({port: [batch, *list(port.get_partial_shape())[1:]] for port in model.inputs})
    check_graph(model, batch, path.with_suffix(".bin").stat().st_size)
    return model


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _as_input(array: Array) -> Array:
    """Return uint8 unchanged, and everything else as float32, since NumPy has no bfloat16."""
    return np.ascontiguousarray(array, np.uint8 if array.dtype == np.uint8 else np.float32)
