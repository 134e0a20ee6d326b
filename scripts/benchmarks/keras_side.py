"""Run plain Keras in the process of cnncli with Keras's default settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cnncli.networks.backend import import_keras


@contextmanager
def default_tensorflow() -> Iterator[None]:
    """Disable deterministic operations inside the block.

    cnncli enables them, and tf.data then runs random operations on one thread. TensorFlow has no public function to
    disable them.
    """
    import_keras()
    import tensorflow as tf
    from tensorflow.python.framework.config import disable_op_determinism

    disable_op_determinism()
    try:
        yield
    finally:
        tf.config.experimental.enable_op_determinism()


@contextmanager
def mixed_bfloat16() -> Iterator[None]:
    """Set Keras's dtype policy to `mixed_bfloat16` inside the block: compute in bfloat16, keep weights in float32."""
    keras = import_keras()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def plain(side: Callable[[], object]) -> Callable[[], None]:
    """Wrap a call so that it runs with TensorFlow's default settings."""

    def call() -> None:
        with default_tensorflow():
            side()

    return call
