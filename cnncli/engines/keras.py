"""The Keras engine: a graph run by TensorFlow, on a GPU if there is one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncli.engines.engine import BATCH, Array, EngineChoice, Precision, padded_batches
from cnncli.errors import EngineError, Message
from cnncli.networks.backend import gpus, import_keras
from cnncli.networks.classifier import PIXELS
from cnncli.networks.mixed_precision import mixed_bfloat16
from cnncli.runtime.environment import processor
from cnncli.runtime.threads import map_ordered, workers

if TYPE_CHECKING:
    import keras

GPU_BATCH = 64
"""Rows per request on a GPU, which fewer images would leave idle."""


class KerasEngine:
    """A compiled TensorFlow function of a Keras graph.

    Features of an image do not depend on the other images in its batch. If TensorFlow's kernels do not guarantee that
    for this graph and processor, images are computed one at a time, several of them in parallel.
    """

    streams = 1  # TensorFlow spreads each request over all cores

    def __init__(
        self,
        model: keras.Model,
        precision: Precision,
        batch: int | None = None,
        dtype: Precision | None = None,
        in_float32: Collection[str] = (),
    ) -> None:
        """Trace the graph of a functional model, which is not changed. Raises EngineError if a GPU lacks memory.

        By default, a request has `BATCH` rows (`GPU_BATCH` on a GPU), and `dtype`, that of the results, is `precision`.
        bfloat16 is Keras's policy `mixed_bfloat16` for all layers except those named in `in_float32`.
        """
        self.choice = EngineChoice("keras", precision)
        self._dtype = dtype or precision
        self._gpus = gpus()
        self.batch = batch or (GPU_BATCH if self._gpus else BATCH)
        self._takes_pixels = [tensor.name for tensor in model.inputs] == [PIXELS]
        self._model = mixed_bfloat16(model, in_float32) if precision == "bfloat16" else model
        self._function = self._compile(jit=bool(self._gpus))
        if self._gpus:
            self._fall_back_from_xla()

    @property
    def identity(self) -> Mapping[str, str | int]:
        """See `Engine.identity`."""
        import tensorflow as tf

        return {
            "engine": "keras",
            "version": f"{import_keras().__version__} tensorflow {tf.__version__}",
            "precision": self.choice.precision,
            "processor": " ".join(self._gpus) or processor(),
            "threads": tf.config.threading.get_intra_op_parallelism_threads() or workers(),
            "batch": self.batch,
        }

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See `Engine.run`."""
        if self._gpus or self._rows_are_independent:
            batches = [self._run_batch(rows, batch) for rows, batch in padded_batches(inputs, self.batch)]
        else:
            batches = list(map_ordered(lambda one: self._run_batch(*one), padded_batches(inputs, 1)))
        return [np.concatenate(parts) for parts in zip(*batches, strict=True)]

    @cached_property
    def _rows_are_independent(self) -> bool:
        """Whether a row has the same bits at every position in a batch, measured with copies of one row.

        Eigen's matrix products, which TensorFlow uses on processors without AVX-512 VNNI, sum the last rows of a matrix
        in a different order; oneDNN's convolutions do not. The result depends only on the graph, the processor, the
        versions and the number of threads, all of which are part of the feature key.
        """
        batch = [np.repeat(row, self.batch, axis=0) for row in self._example(1)]
        outputs = self._run_batch(slice(0, self.batch), batch)
        return all(len({row.tobytes() for row in output}) == 1 for output in outputs)

    def _run_batch(self, rows: slice, batch: Sequence[Array]) -> list[Array]:
        """Run the compiled function once, and return the rows without padding."""
        return [output.numpy()[: rows.stop - rows.start] for output in self._function(*batch)]

    def _example(self, n: int) -> list[Array]:
        """Return n rows of noise for each input: uint8 for pixels, standard normal float32 for features."""
        rng = np.random.default_rng(0)
        shapes = [(n, *tensor.shape[1:]) for tensor in self._model.inputs]
        if self._takes_pixels:
            return [rng.integers(0, 256, shape, np.uint8) for shape in shapes]
        return [rng.standard_normal(shape, np.float32) for shape in shapes]

    def _fall_back_from_xla(self) -> None:
        """Compile without XLA if the first request shows that XLA lacks an operation or a deterministic kernel."""
        import tensorflow as tf

        try:
            self._function(*self._example(self.batch))
        except tf.errors.ResourceExhaustedError as error:
            text = f"The GPU has no memory for a batch of {self.batch} images. Another process may be using it."
            remedy = "Use a smaller data.image_size, or engine: openvino."
            raise EngineError(Message("engine-gpu-memory", f"{text} {remedy}", batch=self.batch)) from error
        except (tf.errors.OpError, ValueError):
            self._function = self._compile(jit=False)

    def _compile(self, jit: bool) -> Any:
        """Compile the graph as a function of arrays of any dtype, so that pixels are copied to a GPU as uint8."""
        import tensorflow as tf

        def outputs(*inputs: Any) -> list[Any]:
            typed = [tf.cast(array, tensor.dtype) for array, tensor in zip(inputs, self._model.inputs, strict=True)]
            return [tf.cast(output, self._dtype) for output in tf.nest.flatten(self._model(typed, training=False))]

        return tf.function(outputs, autograph=False, jit_compile=jit or None, reduce_retracing=True)
