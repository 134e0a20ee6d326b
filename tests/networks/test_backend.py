"""Keras is imported in the same way whatever the user's settings are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def _run(code: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {key: value for key, value in os.environ.items() if not key.startswith(("KERAS", "TF_"))}
    settings |= {"KERAS_HOME": str(home), **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings, check=False)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Import Keras in the background of a process with other settings, which writes to stderr meanwhile."""
    home = tmp_path_factory.mktemp("home")
    changed = {"backend": "jax", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 1e-7}
    (home / "keras.json").write_text(json.dumps(changed))
    code = (
        "import sys, os, threading, time\n"
        "from cnncli.networks import backend\n"
        "backend.import_keras_meanwhile()\n"
        "while not (sys.stderr.fileno() != 2 or 'keras' in sys.modules): time.sleep(0.001)\n"
        "print('said', file=sys.stderr); os.write(2, b'native line\\n')\n"
        "keras = backend.import_keras(); print('after', file=sys.stderr); print(sys.stderr is sys.__stderr__)\n"
        "from tensorflow.python.framework.config import is_op_determinism_enabled\n"
        "print(keras.config.backend(), keras.config.image_data_format(), keras.config.floatx())\n"
        "print(is_op_determinism_enabled())"
    )
    return _run(code, home, KERAS_BACKEND="torch")


def test_settings_of_the_user_do_not_change_the_backend(imported: subprocess.CompletedProcess[str]) -> None:
    """Despite keras.json and KERAS_BACKEND, Keras uses TensorFlow, channels last, float32, deterministic operations."""
    assert imported.stdout.splitlines()[1:] == ["tensorflow channels_last float32", "True"]


def test_another_backend_that_was_imported_before_is_an_error(tmp_path: Path) -> None:
    """If Keras was imported with a different backend, e.g. in a notebook, an error says so."""
    code = (
        "import sys, types; keras = types.ModuleType('keras');"
        "keras.config = types.SimpleNamespace(backend=lambda: 'jax'); sys.modules['keras'] = keras;"
        "from cnncli.networks.backend import import_keras\n"
        "try:\n    import_keras()\nexcept Exception as error:\n    print(error.code, error.facts['received'])"
    )
    done = _run(code, tmp_path)
    assert done.stdout.strip() == "engine-keras-backend jax"


def test_python_may_write_to_stderr_while_keras_is_imported(imported: subprocess.CompletedProcess[str]) -> None:
    """During the import, output of TensorFlow's native code is suppressed, but messages of other threads are not."""
    assert imported.stdout.startswith("True\n")
    assert imported.stderr == "said\nafter\n"


def test_no_line_is_lost_when_stderr_is_turned(tmp_path: Path) -> None:
    """A message printed right after the import starts in the background is not lost."""
    code = (
        "import sys, time; from cnncli.networks import backend\n"
        "backend._imported = lambda: time.sleep(0.5)\n"
        "backend.import_keras_meanwhile()\n"
        "print(sys.stderr.fileno() != 2, sys.stderr is sys.__stderr__)\n"
        "backend.import_keras(); print(sys.stderr is sys.__stderr__)"
    )

    assert _run(code, tmp_path).stdout == "True False\nTrue\n"


@pytest.mark.parametrize(("error", "is_shown"), [("ValueError", True), ("KeyboardInterrupt", False)])
def test_native_lines_are_shown_after_a_failure_but_not_after_an_interrupt(
    error: str, is_shown: bool, tmp_path: Path
) -> None:
    """Suppressed lines may explain a failure; Ctrl-C needs no explanation."""
    code = (
        "import os; from contextlib import suppress; from cnncli.networks.backend import without_native_logs\n"
        f"with suppress({error}), without_native_logs():\n    os.write(2, b'native line'); raise {error}"
    )

    assert ("native line" in _run(code, tmp_path).stderr) == is_shown


def test_a_failed_import_is_shown_to_whoever_needs_keras(tmp_path: Path) -> None:
    """A failed background import is silent, and fails again where Keras is needed."""
    code = (
        "import sys; sys.modules['keras'] = None\n"
        "from cnncli.networks.backend import import_keras, import_keras_meanwhile\n"
        "import_keras_meanwhile()\n"
        "try:\n    import_keras()\nexcept ImportError as error:\n    print(type(error).__name__)"
    )
    done = _run(code, tmp_path)

    assert (done.stdout, done.stderr) == ("ModuleNotFoundError\n", "")


@pytest.mark.parametrize("words", [["train", "no-images"], ["train", "no-images", "--quiet"]])
def test_an_error_does_not_wait_for_keras(tmp_path: Path, words: list[str]) -> None:
    """A command that fails while Keras is being imported exits at once, with its exit code and one line."""
    (tmp_path / "no-images" / "cats").mkdir(parents=True)
    code = (
        "import sys, time; from cnncli import cli; from cnncli.networks import backend\n"
        "ended = []\n"
        "backend._imported = lambda: (time.sleep(60), ended.append(1))\n"
        f"cli.end(cli.main({words!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=50
    )

    assert done.returncode == 2
    assert all(line.startswith("error: ") for line in done.stderr.splitlines())
    assert done.stderr


def test_a_script_that_ends_early_waits_for_the_import(tmp_path: Path) -> None:
    """Python waits for the background import before it exits; native libraries crash if it shuts down as they load."""
    code = (
        "import time; from cnncli.networks import backend\n"
        "backend._imported = lambda: (time.sleep(0.5), print('imported'))\n"
        "backend.import_keras_meanwhile()"
    )

    assert _run(code, tmp_path).stdout == "imported\n"
