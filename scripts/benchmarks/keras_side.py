"""Plain Keras in the process of cnncli, as it is without cnncli."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cnncli.networks.backend import import_keras


@contextmanager
def as_it_comes() -> Iterator[None]:
    """Inside, TensorFlow is as its users have it.

    cnncli switches deterministic operations on, under which tf.data runs random operations on one thread. TensorFlow
    has no public way to switch them off again.
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
    """Inside, Keras builds layers that compute in bfloat16 and keep float32 weights, as its users ask for it."""
    keras = import_keras()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def plain(side: Callable[[], object]) -> Callable[[], None]:
    """The same call with TensorFlow as it comes."""

    def call() -> None:
        with as_it_comes():
            side()

    return call
