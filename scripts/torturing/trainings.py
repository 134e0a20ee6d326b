"""Trainings in processes of their own, that can be killed, and what they end with."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cnncli.runs.layout import RunFolder

PATIENCE_S = 300.0
TIMES = ("seconds", "pictures_per_s")


@dataclass(frozen=True)
class Ended:
    """What a run ends with, but for times: equal where two trainings came out the same, bit for bit."""

    weights: str
    history: tuple[tuple[str, ...], ...]
    metrics: Any
    best_epoch: int

    @classmethod
    def of(cls, run: RunFolder) -> Ended:
        """Of a finished run."""
        facts = run.read_facts()
        assert facts["state"] == "finished", f"{run.path.name} is {facts['state']}"
        metrics = json.loads(run.metrics.read_text(encoding="utf-8"))
        return cls(weights_digest(run.model), history_of(run.history), metrics, facts["best_epoch"])


def weights_digest(model: Path) -> str:
    """SHA-256 of all weights in a `.keras` file; the file itself has the date in it."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(model) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
        names: list[str] = []
        weights.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in sorted(names):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(weights[name][()]).tobytes())
    return digest.hexdigest()


def history_of(path: Path) -> tuple[tuple[str, ...], ...]:
    """The rows of history.csv without times, as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(tuple(value for name, value in row.items() if name not in TIMES) for row in csv.DictReader(file))


@dataclass(frozen=True)
class Trainer:
    """Starts trainings of one config.

    Attributes:
        config: a file.
        work: folder of runs and cache.
    """

    config: Path
    work: Path

    @property
    def runs(self) -> Path:
        """Folder of the runs."""
        return self.work / "runs"

    def newest(self) -> RunFolder | None:
        """The run that appeared last, if any has."""
        if not self.runs.is_dir():
            return None
        found = sorted(path for path in self.runs.iterdir() if not path.name.startswith("."))
        return RunFolder(found[-1]) if found else None

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Begin, or go on with the run that is there."""
        run = self.newest()
        command = [sys.executable, "-m", "cnncli", "train", str(run.path if run else self.config), *words]
        return subprocess.Popen(
            [*command, "--runs-dir", str(self.runs), "--quiet"],
            env={**os.environ, "CNNCLI_CACHE": str(self.work / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def finish(self) -> Ended:
        """Train to the end, whatever is there already."""
        process = self.start()
        output, _ = process.communicate(timeout=PATIENCE_S)
        run = self.newest()
        assert process.returncode == 0, f"exit code {process.returncode}: {output.decode(errors='replace')}"
        assert run is not None
        return Ended.of(run)

    def kill_after(self, seconds: float, by: int = signal.SIGKILL) -> int | None:
        """Start, and send a signal after so many seconds; gives the exit code, None where it had ended before."""
        process = self.start()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(by)
            process.communicate(timeout=PATIENCE_S)
            return process.returncode
        process.communicate(timeout=PATIENCE_S)
        return None

    def kill_inside_a_save(self, number: int, longest_s: float = 60.0) -> bool:
        """Start, and kill while the so-many-th checkpoint from now is being written; whether that came about."""
        process = self.start()
        seen: set[str] = set()
        deadline = time.monotonic() + longest_s
        while process.poll() is None and time.monotonic() < deadline:
            run = self.newest()
            asides = {path.name for path in run.state.glob(".*")} if run and run.state.is_dir() else set()
            seen |= asides
            if asides and len(seen) >= number:
                break
            time.sleep(0.0005)
        was_running = process.poll() is None
        process.kill()
        process.communicate(timeout=PATIENCE_S)
        return was_running
