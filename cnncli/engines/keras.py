"""The Keras engine: a graph run by TensorFlow, on a GPU where it sees one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncli.engines.engine import BATCH, Array, EngineChoice, Precision, padded_batches
from cnncli.networks.backend import import_keras
from cnncli.networks.graph import replay
from cnncli.parallel import workers
from cnncli.runs.environment import processor

if TYPE_CHECKING:
    import keras


class KerasEngine:
    """A compiled TensorFlow function over a Keras graph."""

    def __init__(self, model: keras.Model, precision: Precision, batch: int = BATCH) -> None:
        """Trace the graph.

        Args:
            model: any functional model; it is not changed.
            precision: float32, or bfloat16 (Keras's `mixed_bfloat16` policy on every layer).
            batch: rows in a request.
        """
        import tensorflow as tf

        self._precision = precision
        self._batch = batch
        self._model = _in_mixed_bfloat16(model) if precision == "bfloat16" else model
        graph = self._model
        signature = [tf.TensorSpec((batch, *tensor.shape[1:]), tf.float32) for tensor in model.inputs]
        self._function = tf.function(
            lambda *inputs: graph(list(inputs), training=False), autograph=False
        ).get_concrete_function(*signature)

    @property
    def choice(self) -> EngineChoice:
        """See `Engine.choice`."""
        return EngineChoice("keras", self._precision)

    @property
    def identity(self) -> Mapping[str, str | int]:
        """See `Engine.identity`."""
        import tensorflow as tf

        devices = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
        return {
            "engine": "keras",
            "version": f"{import_keras().__version__} tensorflow {tf.__version__}",
            "precision": self._precision,
            "processor": " ".join(str(device.get("device_name")) for device in devices) or processor(),
            "threads": tf.config.threading.get_intra_op_parallelism_threads() or workers(),
            "batch": self._batch,
        }

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See `Engine.run`."""
        import ml_dtypes
        import tensorflow as tf

        dtype = ml_dtypes.bfloat16 if self._precision == "bfloat16" else np.float32
        parts: list[list[Array]] = [[] for _ in self._model.outputs]
        for batch, rows in padded_batches(inputs, self._batch):
            outputs = tf.nest.flatten(self._function(*[tf.constant(array.astype(np.float32)) for array in batch]))
            for part, output in zip(parts, outputs, strict=True):
                part.append(output.numpy()[:rows].astype(dtype))
        return [np.concatenate(part) for part in parts]


def _in_mixed_bfloat16(model: keras.Model) -> keras.Model:
    """The same graph and weights, each layer computing in bfloat16 with float32 weights."""
    keras = import_keras()
    copies: dict[int, Any] = {}

    def in_bfloat16(operation: Any) -> Any:
        if not isinstance(operation, keras.Layer):
            return operation
        if id(operation) not in copies:
            config = {**operation.get_config(), "dtype": "mixed_bfloat16"}
            copies[id(operation)] = type(operation).from_config(config)
        return copies[id(operation)]

    inputs = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in model.inputs]
    copy = keras.Model(inputs, replay(model, inputs, in_bfloat16))
    for layer in model.layers:
        if id(layer) in copies:
            copies[id(layer)].set_weights(layer.get_weights())
        if hasattr(copies.get(id(layer)), "finalize_state"):
            # Keras's Normalization computes with constants that it makes of its weights.
            copies[id(layer)].finalize_state()
    return copy
