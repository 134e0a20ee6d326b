"""The only import of Keras: TensorFlow, channels last, deterministic operations."""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import ModuleType

from cnncli.errors import EngineError, Message
from cnncli.runtime.warnings import IgnoredWarnings

_IN_BACKGROUND = "import keras"
_lock = threading.Lock()
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
"""Device files of the drivers of NVIDIA, of Windows in its subsystem for Linux, and of AMD."""


def import_keras() -> ModuleType:
    """Import `keras` on TensorFlow, with channels last, float32 and deterministic operations.

    The backend is selected before the first import, because Keras cannot change it afterwards. Determinism stays
    enabled for the whole process, so that runs with the same seed give the same weights.

    Raises:
        EngineError: Keras was already imported with a different backend.
    """
    with _lock:
        return _imported()


def import_keras_meanwhile() -> None:
    """Start importing Keras, which takes seconds, in the background; `import_keras` waits until it is done."""
    is_held_back = threading.Event()

    def begin() -> None:
        try:
            with suppress(Exception), _lock, without_native_logs():  # `import_keras` raises it again
                is_held_back.set()
                _imported()
        finally:
            is_held_back.set()

    thread = threading.Thread(target=begin, name=_IN_BACKGROUND, daemon=True)
    atexit.register(thread.join)  # an interpreter that shuts down while native libraries are loaded may crash
    thread.start()
    # A line written while stderr is being redirected would be suppressed together with TensorFlow's.
    is_held_back.wait()


def is_importing_keras() -> bool:
    """Return whether the background import is running."""
    return any(thread.name == _IN_BACKGROUND for thread in threading.enumerate())


@cache
def _imported() -> ModuleType:
    is_first = "keras" not in sys.modules
    if is_first:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The user cannot fix deprecations between TensorFlow and its dependencies.
    with IgnoredWarnings(DeprecationWarning).here(), without_native_logs():
        keras = importlib.import_module("keras")
    if keras.config.backend() != "tensorflow":
        name = keras.config.backend()
        text = f"Keras was imported with the {name} backend. Set KERAS_BACKEND=tensorflow, or import cnncli first."
        raise EngineError(Message("engine-keras-backend", text, received=name, expected="tensorflow"))
    if is_first:  # otherwise the process has its own settings, see `standard_settings`
        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    tf.get_logger().setLevel("ERROR")
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # leaves memory to other processes
    return keras


@contextmanager
def standard_settings() -> Iterator[None]:
    """Use float32 and channels last inside the block, and restore the process's settings afterwards. Also a decorator.

    Layers take their dtype policy and data format from these settings when they are created, and Keras's operations
    take their default dtype from them when they run.
    """
    if "keras" not in sys.modules:
        yield
        return
    config = import_keras().config
    from keras.src.backend.common import global_state

    # Keras makes a default policy of its floatx on request; the attribute is None unless a policy was set.
    policy = global_state.get_global_attribute("dtype_policy")
    floatx, data_format = config.floatx(), config.image_data_format()
    try:
        config.set_floatx("float32")
        config.set_image_data_format("channels_last")
        config.set_dtype_policy("float32")
        yield
    finally:
        config.set_floatx(floatx)
        config.set_image_data_format(data_format)
        global_state.set_global_attribute("dtype_policy", policy)


@contextmanager
def uninitialized() -> Iterator[None]:
    """Build networks inside the block without values of their weights: a VGG takes milliseconds instead of seconds.

    Such a network has shapes, but cannot be called with images.
    """
    keras = import_keras()
    from keras.src.backend.common import global_state

    with keras.StatelessScope(initialize_variables=False):
        waiting = global_state.get_global_attribute("uninitialized_variables", [], set_to_default=True)
        n_before = len(waiting)
        try:
            yield
        finally:
            del waiting[n_before:]


def has_gpu_driver() -> bool:
    """Return whether the driver of a GPU is loaded, on Linux."""
    return any(map(os.path.exists, _GPU_DEVICES))


def gpus() -> tuple[str, ...]:
    """Return the names of the GPUs that TensorFlow sees; it is not imported where no driver offers any."""
    if "tensorflow" not in sys.modules and sys.platform == "linux" and not has_gpu_driver():
        return ()
    import_keras()  # first, since it keeps TensorFlow's start-up lines off the screen
    import tensorflow as tf

    devices = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return tuple(str(device.get("device_name", "GPU")) for device in devices)


@contextmanager
def without_native_logs() -> Iterator[None]:
    """Suppress lines that TensorFlow's C++ code writes to stderr inside the block; show them if the block fails.

    TensorFlow writes them (instruction sets, a missing GPU) before it reads its log level. Python's `sys.stderr` still
    works for other threads.
    """
    with tempfile.TemporaryFile() as held_back, _own_stderr_for_python() as stderr:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except Exception:  # not BaseException: an interrupt is not a failure
            held_back.seek(0)
            os.write(stderr, held_back.read())
            raise
        finally:
            os.dup2(stderr, 2)


@contextmanager
def _own_stderr_for_python() -> Iterator[int]:
    """Give `sys.stderr` its own file descriptor, so that descriptor 2 can be redirected, and yield it.

    It stays open for progress bars that were started inside the block.
    """
    stderr, before = os.dup(2), sys.stderr
    if before is not sys.__stderr__ or before is None:
        yield stderr
        return
    before.flush()
    sys.stderr = os.fdopen(stderr, "w", buffering=1, encoding=before.encoding, errors=before.errors, closefd=False)
    try:
        yield stderr
    finally:
        sys.stderr.flush()
        sys.stderr = before
