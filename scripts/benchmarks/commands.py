"""Run commands in separate processes, and measure their time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scripts.benchmarks.images import ROOT

POLL_S = 0.02


@dataclass(frozen=True)
class Finished:
    """A command that exited with the expected code."""

    seconds: float
    stdout: str

    @property
    def document(self) -> Any:
        """JSON document in the output, or in its last line."""
        lines = self.stdout.strip().splitlines()
        return json.loads(lines[-1] if lines[-1].startswith("{") and lines[-1].endswith("}") else self.stdout)


def cnncli_command(*arguments: str | Path) -> list[str]:
    """Return the command line of cnncli."""
    return [sys.executable, "-m", "cnncli", *map(str, arguments)]


def plain_command(script: str, *arguments: str | Path) -> list[str]:
    """Return the command line of a plain Keras script."""
    return [sys.executable, "-m", f"scripts.benchmarks.plain.{script}", *map(str, arguments)]


def environment(cache: Path | None = None) -> Mapping[str, str]:
    """Return the environment for a command that uses the given feature cache."""
    changes = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**os.environ, **changes, **({"CNNCLI_CACHE": str(cache)} if cache else {})}


def run(command: Sequence[str], cache: Path | None = None, code: int = 0) -> Finished:
    """Run a command to its end.

    Args:
        command: Command line.
        cache: Cache directory of cnncli.
        code: Expected exit code.

    Raises:
        RuntimeError: The exit code is not the expected one. The message has the last lines of stderr.
    """
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment(cache), stdin=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    if done.returncode != code:
        raise RuntimeError(failure(command, done.returncode, done.stderr))
    return Finished(seconds, done.stdout)


def failure(command: Sequence[str], code: int, stderr: str) -> str:
    """Return the error message for a command that failed."""
    end = "\n".join(stderr.strip().splitlines()[-10:])
    return f"{' '.join(command)} exited with {code}:\n{end}"


@dataclass(frozen=True)
class Watched:
    """A command whose memory was measured.

    Attributes:
        seconds: Duration.
        peak_mb: Peak of the anonymous memory in MB (10⁶ bytes), without mapped files.
        problem: Reason for a failure, or None.
    """

    seconds: float
    peak_mb: float
    problem: str | None


def watch(command: Sequence[str], cache_folder: Path, limit_bytes: int | None = None) -> Watched:
    """Run a command to its end, sample its memory every 20 ms, and limit it to `limit_bytes` if given."""
    words = [*(limit_command(limit_bytes) if limit_bytes else ()), *command]
    with tempfile.TemporaryFile("w+") as stderr:
        started = time.perf_counter()
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=stderr, stdin=subprocess.DEVNULL, env=environment(cache_folder)
        )
        peak = _Peak(process.pid)
        peak.start()
        code = process.wait()
        seconds = time.perf_counter() - started
        peak.join()
        stderr.seek(0)
        return Watched(seconds, peak.bytes / 1e6, failure(words, code, stderr.read()) if code else None)


class _Peak(threading.Thread):
    """Samples the anonymous memory of a process until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._status = Path(f"/proc/{pid}/status")

    def run(self) -> None:
        """Sample until the process ends."""
        while (now := self._anonymous()) is not None:
            self.bytes = max(self.bytes, now)
            time.sleep(POLL_S)

    def _anonymous(self) -> int | None:
        """Return the anonymous memory in bytes, or None once the process has ended."""
        try:
            lines = self._status.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return int(fields["RssAnon"].split()[0]) * 1024 if "RssAnon" in fields else None


def limit_command(limit_bytes: int) -> list[str]:
    """Return the prefix of a command line that limits the command's memory."""
    if limit_name() == "cgroup":
        return [
            "systemd-run",
            "--user",
            "--scope",
            "--quiet",
            "-p",
            f"MemoryMax={limit_bytes}",
            "-p",
            "MemorySwapMax=0",
        ]
    return ["sh", "-c", 'ulimit -d "$0" && exec "$@"', str(limit_bytes // 1024)]


@cache
def limit_name() -> str:
    """Return how memory is limited: by a cgroup of the user's systemd if possible, otherwise by RLIMIT_DATA.

    RLIMIT_DATA counts all private writable memory, resident or not, and is therefore stricter.
    """
    try:
        tried = subprocess.run(["systemd-run", "--user", "--scope", "--quiet", "true"], capture_output=True)
    except OSError:
        return "RLIMIT_DATA"
    return "cgroup" if tried.returncode == 0 else "RLIMIT_DATA"
