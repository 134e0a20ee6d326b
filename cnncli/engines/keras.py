"""The Keras engine: a graph run by TensorFlow, on a GPU where it sees one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncli.engines.engine import BATCH, Array, EngineChoice, Precision, padded_batches
from cnncli.errors import EngineError
from cnncli.networks.backend import gpus, import_keras
from cnncli.networks.classifier import PIXELS
from cnncli.networks.mixed_precision import mixed_bfloat16
from cnncli.runtime.environment import processor
from cnncli.runtime.threads import workers

if TYPE_CHECKING:
    import keras

GPU_BATCH = 64
"""Rows in a request on a GPU, which a few images would leave idle."""


class KerasEngine:
    """A compiled TensorFlow function over a Keras graph."""

    def __init__(
        self,
        model: keras.Model,
        precision: Precision,
        batch: int | None = None,
        dtype: Precision | None = None,
        in_float32: Collection[str] = (),
    ) -> None:
        """Trace the graph.

        Args:
            model: any functional model; it is not changed.
            precision: float32, or bfloat16 (Keras's `mixed_bfloat16` policy on every layer).
            batch: rows in a request; default: `BATCH`, on a GPU `GPU_BATCH`.
            dtype: of the arrays that come out; default: the precision.
            in_float32: names of layers that compute in float32 in both precisions.

        Raises:
            EngineError: a GPU has no room for a request.
        """
        self._precision = precision
        self._dtype = dtype or precision
        self._gpus = gpus()
        self.batch = batch or (GPU_BATCH if self._gpus else BATCH)
        self._takes_pixels = [tensor.name for tensor in model.inputs] == [PIXELS]
        self._model = mixed_bfloat16(model, in_float32) if precision == "bfloat16" else model
        self._function = self._compile(jit=bool(self._gpus))
        if self._gpus:
            self._do_without_xla_where_it_fails()

    @property
    def choice(self) -> EngineChoice:
        """See `Engine.choice`."""
        return EngineChoice("keras", self._precision)

    @property
    def streams(self) -> int:
        """See `Engine.streams`: TensorFlow spreads each request over what there is."""
        return 1

    @property
    def identity(self) -> Mapping[str, str | int]:
        """See `Engine.identity`."""
        import tensorflow as tf

        return {
            "engine": "keras",
            "version": f"{import_keras().__version__} tensorflow {tf.__version__}",
            "precision": self._precision,
            "processor": " ".join(self._gpus) or processor(),
            "threads": tf.config.threading.get_intra_op_parallelism_threads() or workers(),
            "batch": self.batch,
        }

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See `Engine.run`; what comes out is bfloat16 or float32, as `dtype` says."""
        parts: list[list[Array]] = [[] for _ in self._model.outputs]
        for rows, batch in padded_batches(inputs, self.batch):
            for part, output in zip(parts, self._function(*batch), strict=True):
                part.append(output.numpy()[: rows.stop - rows.start])
        return [np.concatenate(part) for part in parts]

    def _do_without_xla_where_it_fails(self) -> None:
        """XLA lacks some operations, and some deterministic kernels; what it lacks shows on the first request.

        That a GPU has no room for the request is something else, and no reason to compute otherwise.
        """
        import tensorflow as tf

        dtype = np.uint8 if self._takes_pixels else np.float32
        inputs = [np.zeros((self.batch, *tensor.shape[1:]), dtype) for tensor in self._model.inputs]
        try:
            self._function(*inputs)
        except tf.errors.ResourceExhaustedError as error:
            raise EngineError(
                f"the GPU has no room for {self.batch} images at a time. Is something else running on it? "
                "A smaller data.image_size needs less, and `engine: openvino` none."
            ) from error
        except (tf.errors.OpError, ValueError):
            self._function = self._compile(jit=False)

    def _compile(self, jit: bool) -> Any:
        """The graph as a function of arrays of any dtype: uint8 pixels travel to a GPU as they are."""
        import tensorflow as tf

        def outputs(*inputs: Any) -> list[Any]:
            given = [tf.cast(array, tensor.dtype) for array, tensor in zip(inputs, self._model.inputs, strict=True)]
            return [tf.cast(output, self._dtype) for output in tf.nest.flatten(self._model(given, training=False))]

        return tf.function(outputs, autograph=False, jit_compile=jit or None, reduce_retracing=True)
