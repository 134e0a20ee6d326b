"""Keras is imported in one way, whatever the user's settings say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def _run(code: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {key: value for key, value in os.environ.items() if not key.startswith(("KERAS", "TF_"))}
    settings |= {"KERAS_HOME": str(home), **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings, check=False)


def test_settings_of_the_user_do_not_change_the_backend(tmp_path: Path) -> None:
    """A keras.json and a KERAS_BACKEND of somebody's else: TensorFlow, channels last, float32, deterministic."""
    told = {"backend": "jax", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 1e-7}
    (tmp_path / "keras.json").write_text(json.dumps(told))
    code = (
        "from cnncli.networks.backend import import_keras; keras = import_keras(); import tensorflow as tf;"
        "from tensorflow.python.framework.config import is_op_determinism_enabled;"
        "print(keras.config.backend(), keras.config.image_data_format(), keras.config.floatx(),"
        " is_op_determinism_enabled())"
    )
    done = _run(code, tmp_path, KERAS_BACKEND="torch")
    assert done.stdout.strip() == "tensorflow channels_last float32 True"
    assert done.stderr == ""


def test_another_backend_that_is_there_already_is_one_line(tmp_path: Path) -> None:
    """Keras cannot change its backend; a notebook that imported it with another is told so."""
    code = (
        "import sys, types; keras = types.ModuleType('keras');"
        "keras.config = types.SimpleNamespace(backend=lambda: 'jax'); sys.modules['keras'] = keras;"
        "from cnncli.networks.backend import import_keras\n"
        "try:\n    import_keras()\nexcept Exception as error:\n    print(type(error).__name__, error)"
    )
    done = _run(code, tmp_path)
    assert done.stdout.strip() == (
        "EngineError Keras was imported with the jax backend before cnncli: it needs tensorflow; "
        "set KERAS_BACKEND=tensorflow, or import cnncli first"
    )


def test_python_may_write_to_stderr_while_keras_is_imported(tmp_path: Path) -> None:
    """What TensorFlow's native side writes meanwhile is held back; messages of other threads are not."""
    code = (
        "import sys, os, threading, time\n"
        "from cnncli.networks import backend\n"
        "backend.import_keras_meanwhile()\n"
        "while not (sys.stderr.fileno() != 2 or 'keras' in sys.modules): time.sleep(0.001)\n"
        "print('said', file=sys.stderr); os.write(2, b'native line\\n')\n"
        "backend.import_keras(); print('after', file=sys.stderr); print(sys.stderr is sys.__stderr__)"
    )
    done = _run(code, tmp_path)

    assert (done.stdout, done.stderr) == ("True\n", "said\nafter\n")


def test_a_failed_import_is_shown_to_whoever_needs_keras(tmp_path: Path) -> None:
    """It fails once in the background, without a word, and again where it matters."""
    code = (
        "import sys; sys.modules['keras'] = None\n"
        "from cnncli.networks.backend import import_keras, import_keras_meanwhile\n"
        "import_keras_meanwhile()\n"
        "try:\n    import_keras()\nexcept ImportError as error:\n    print(type(error).__name__)"
    )
    done = _run(code, tmp_path)

    assert (done.stdout, done.stderr) == ("ModuleNotFoundError\n", "")
