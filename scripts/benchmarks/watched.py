"""A command whose memory is watched while it runs, and limited where that is asked for."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scripts.benchmarks.commands import environment, failure

EVERY_S = 0.02


@dataclass(frozen=True)
class Watched:
    """A command that ended.

    Attributes:
        seconds: from its start to its end.
        peak_mb: the most anonymous memory that it had, in MB (10⁶ bytes); mapped files are not in it.
        problem: why it failed, None where it did not.
    """

    seconds: float
    peak_mb: float
    problem: str | None


def watch(command: Sequence[str], cache_folder: Path, limit_bytes: int | None = None) -> Watched:
    """Run a command to its end and look at its memory every 20 ms; with `limit_bytes` it gets no more."""
    words = [*(limiting(limit_bytes) if limit_bytes else ()), *command]
    with tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=said, stdin=subprocess.DEVNULL, env=environment(cache_folder)
        )
        peak = _Peak(process.pid)
        peak.start()
        code = process.wait()
        seconds = time.perf_counter() - started
        peak.join()
        said.seek(0)
        return Watched(seconds, peak.bytes / 1e6, failure(words, code, said.read()) if code else None)


class _Peak(threading.Thread):
    """Reads RssAnon of a process until there is none any more."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._status = Path(f"/proc/{pid}/status")

    def run(self) -> None:
        """Look again and again."""
        while (now := self._anonymous()) is not None:
            self.bytes = max(self.bytes, now)
            time.sleep(EVERY_S)

    def _anonymous(self) -> int | None:
        """Bytes; None once the process has ended."""
        try:
            lines = self._status.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return int(fields["RssAnon"].split()[0]) * 1024 if "RssAnon" in fields else None


def limiting(limit_bytes: int) -> list[str]:
    """The words before a command that limit its memory."""
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
    """How memory is limited here: by a cgroup of the user's systemd, else by RLIMIT_DATA (all private memory that a
    process may write to, touched or not: stricter than a limit on what is resident).
    """
    try:
        tried = subprocess.run(["systemd-run", "--user", "--scope", "--quiet", "true"], capture_output=True)
    except OSError:
        return "RLIMIT_DATA"
    return "cgroup" if tried.returncode == 0 else "RLIMIT_DATA"
