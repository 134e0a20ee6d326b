"""Whole commands as a user types them, each a process of its own, timed from its start to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.benchmarks.images import ROOT


@dataclass(frozen=True)
class Finished:
    """A command that ended as expected."""

    seconds: float
    stdout: str

    @property
    def document(self) -> Any:
        """The JSON document in its last line, or in all of its output."""
        lines = self.stdout.strip().splitlines()
        return json.loads(lines[-1] if lines[-1].startswith("{") and lines[-1].endswith("}") else self.stdout)


def cnncli_command(*arguments: str | Path) -> list[str]:
    """The words that call cnncli."""
    return [sys.executable, "-m", "cnncli", *map(str, arguments)]


def plain_command(script: str, *arguments: str | Path) -> list[str]:
    """The words that call a script in plain Keras."""
    return [sys.executable, "-m", f"scripts.benchmarks.plain.{script}", *map(str, arguments)]


def environment(cache: Path | None = None) -> Mapping[str, str]:
    """The environment of a command; with a folder for all that cnncli keeps."""
    changes = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**os.environ, **changes, **({"CNNCLI_CACHE": str(cache)} if cache else {})}


def run(command: Sequence[str], cache: Path | None = None, code: int = 0) -> Finished:
    """Run a command to its end.

    Args:
        command: its words.
        cache: cnncli's.
        code: the exit code that is expected.

    Raises:
        RuntimeError: another exit code; the message has the last lines of its stderr.
    """
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment(cache), stdin=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    if done.returncode != code:
        raise RuntimeError(failure(command, done.returncode, done.stderr))
    return Finished(seconds, done.stdout)


def failure(command: Sequence[str], code: int, stderr: str) -> str:
    """What to say of a command that failed."""
    end = "\n".join(stderr.strip().splitlines()[-10:])
    return f"{' '.join(command)} ended with exit code {code}:\n{end}"
