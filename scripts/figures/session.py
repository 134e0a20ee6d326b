"""A folder in which the documentation's commands run, with the configs and the sample of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = 92


@contextmanager
def workspace() -> Iterator[Path]:
    """Yield a temporary folder with `configs/` and `data/sample/`; its cache and its runs are inside."""
    with tempfile.TemporaryDirectory(prefix="cnncli-docs-") as name:
        yield copy_inputs(Path(name))


def copy_inputs(folder: Path) -> Path:
    """Copy the files that the documentation's commands read, and return the folder."""
    shutil.copytree(ROOT / "configs", folder / "configs")
    shutil.copytree(ROOT / "data" / "sample", folder / "data" / "sample")
    return folder


def environment(folder: Path) -> Mapping[str, str]:
    """Return the environment of a command that runs this checkout's `cnncli` and uses no files outside the folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CNNCLI_")}
    return {
        **kept,
        "PATH": f"{_command_folder(folder)}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
        "CNNCLI_CACHE": str(folder / ".cache"),
        "KERAS_HOME": str(folder / ".keras"),
        "COLUMNS": str(COLUMNS),
        "NO_COLOR": "1",
    }


def _command_folder(folder: Path) -> Path:
    """Return a folder that holds the command `cnncli`, of this Python and this checkout."""
    tools = folder / ".bin"
    tools.mkdir(exist_ok=True)
    script = tools / "cnncli"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m cnncli "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return tools


def run(command: str, folder: Path, here: Path | None = None) -> str:
    """Run a shell command in a workspace and return its stdout and stderr, combined.

    Args:
        command: The command.
        folder: The workspace.
        here: Current folder of the command; default: the workspace.

    Raises:
        RuntimeError: The command fails.
    """
    done = subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=here or folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{command}\n{done.stdout}")
    return done.stdout
