"""Keras, imported once and in one way: TensorFlow, channels last, deterministic operations."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

from cnncli.errors import EngineError


@cache
def import_keras() -> ModuleType:
    """The `keras` module on TensorFlow with channels last, float32 and deterministic operations.

    The backend is chosen before the first import, because Keras cannot change it afterwards. Determinism stays on for
    the whole process: two trainings with the same seed give the same weights.

    Raises: EngineError: Keras was already imported, by somebody else, with another backend.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        # What TensorFlow's own dependencies deprecate is nothing the reader can mend.
        warnings.simplefilter("ignore", DeprecationWarning)
        with _without_native_logs():
            keras = importlib.import_module("keras")
    if keras.config.backend() != "tensorflow":
        raise EngineError(
            f"Keras was imported with the {keras.config.backend()} backend before cnncli: it needs tensorflow; "
            "set KERAS_BACKEND=tensorflow, or import cnncli first"
        )
    _settle(keras)
    return keras


def gpus() -> tuple[str, ...]:
    """The names of the GPUs that TensorFlow sees."""
    import_keras()  # first, since it keeps TensorFlow's start-up lines off the screen
    import tensorflow as tf

    devices = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return tuple(str(device.get("device_name", "GPU")) for device in devices)


@contextmanager
def _without_native_logs() -> Iterator[None]:
    """Hold back what TensorFlow's C++ side writes to stderr while it is loaded; if loading fails, it is shown.

    These lines (which instructions are used, that there is no GPU) come before TensorFlow listens to its log level.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held_back:
        stderr = os.dup(2)
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            os.write(stderr, held_back.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _settle(keras: ModuleType) -> None:
    """Override what a user's keras.json may say, switch determinism on, and leave others room on a GPU."""
    import tensorflow as tf

    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    tf.config.experimental.enable_op_determinism()
    tf.get_logger().setLevel("ERROR")
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
