"""Training in separate processes that can be killed, and its results."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import signal
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cnncli.runs.folder import RunFolder
from tests.fault_injection.children import POLL_S, Child
from tests.support.drawing import draw_dataset

TIMES = ("seconds", "images_per_s")
CONFIG = """
name: faulty
mode: fine-tuning
data: {path: IMAGES, image_size: 32}
backbone: {name: ConvNet, weights: none, options: {filters: [8, 16], batch_norm: true}}
head: {layers: [{dense: 8}, {dropout: 0.4}]}
augmentation: {rotation_range: 20, horizontal_flip: true, views: VIEWS, mixup: 0.3}
precision: PRECISION
evaluation: {verify: false}
training:
  batch_size: 8
  optimizer: {name: adam, learning_rate: 0.01}
  reduce_on_plateau: {patience: 1, factor: 0.5}
  stages:
    - {name: head, epochs: 3}
    - {name: all, unfreeze: all, epochs: 6, early_stopping: {patience: 4, min_delta: 100}}
"""
"""Dropout, batch normalization, plateaus, MixUp. The second stage stops early, because nothing improves by 100."""


@dataclass(frozen=True)
class RunResult:
    """Result of a finished run without times. Equal results mean that two runs agree bit for bit.

    Attributes:
        weights: SHA-256 of the weights.
        history: Rows of history.csv.
        metrics: Content of metrics.json.
        best_epoch: Number of the best epoch.
    """

    weights: str
    history: tuple[tuple[str, ...], ...]
    metrics: Any
    best_epoch: int

    @classmethod
    def of(cls, run: RunFolder) -> RunResult:
        """Read the result of a finished run."""
        facts = run.read_facts()
        assert facts["state"] == "finished", f"{run.path.name} is {facts['state']}"
        metrics = json.loads(run.metrics.read_text(encoding="utf-8"))
        return cls(weights_digest(run.model), read_history(run.history), metrics, facts["best_epoch"])


def weights_digest(model: Path) -> str:
    """Return the SHA-256 of all weights in a `.keras` file, because the file itself also contains the date."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(model) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
        names: list[str] = []
        weights.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in sorted(names):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(weights[name][()]).tobytes())
    return digest.hexdigest()


def read_history(path: Path) -> tuple[tuple[str, ...], ...]:
    """Return the rows of history.csv as text, without times."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(tuple(value for name, value in row.items() if name not in TIMES) for row in csv.DictReader(file))


@dataclass(frozen=True)
class Trainer:
    """Starts processes that train a config.

    Attributes:
        config: Config file.
        work: Directory of runs and cache.
        before: Function that is called first in each process.
        runs_name: Name of the runs directory.
        output: Name of the file for the output.
    """

    config: Path
    work: Path
    before: Callable[[], object] | None = None
    runs_name: str = "runs"
    output: str = "output.txt"

    @property
    def runs(self) -> Path:
        """Runs directory."""
        return self.work / self.runs_name

    def newest_run(self) -> RunFolder | None:
        """Return the newest run, or None."""
        if not self.runs.is_dir():
            return None
        found = sorted(path for path in self.runs.iterdir() if not path.name.startswith("."))
        return RunFolder(found[-1]) if found else None

    def start(self, *words: str) -> Child:
        """Start a new run, or resume the existing one."""
        run = self.newest_run()
        command = ["train", str(run.path if run else self.config), *words, "--runs-dir", str(self.runs), "--quiet"]
        self.work.mkdir(parents=True, exist_ok=True)
        return Child(command, self.work / self.output, {"CNNCLI_CACHE": str(self.work / "cache")}, self.before)

    def finish(self) -> RunResult:
        """Train or resume without disturbance to the end."""
        child = replace(self, before=None).start()
        code, run = child.end(), self.newest_run()
        assert code == 0, f"exit code {code}: {child.printed()}"
        assert run is not None
        return RunResult.of(run)

    def signal_after(self, seconds: float, number: int = signal.SIGKILL) -> int:
        """Start, send a signal after `seconds`, and return the exit code."""
        child = self.start()
        child.wait(seconds)
        child.send(number)
        return child.end()

    def kill_after_saves(self, number: int) -> None:
        """Start, and kill the process as soon as `number` checkpoints have been saved."""

        def is_saved() -> bool:
            run = self.newest_run()
            return run is not None and any(int(path.name) >= number for path in run.state.glob("0*"))

        self._kill_when(is_saved)

    def kill_inside_save(self, number: int, longest_s: float = 60.0) -> None:
        """Start, and kill the process while the `number`-th checkpoint from now is written, if it gets that far."""
        seen = set[str]()
        deadline = time.monotonic() + longest_s

        def is_saving() -> bool:
            run = self.newest_run()
            temporary = {path.name for path in run.state.glob(".*")} if run and run.state.is_dir() else set()
            seen.update(temporary)
            return bool(temporary and len(seen) >= number) or time.monotonic() >= deadline

        self._kill_when(is_saving)

    def _kill_when(self, condition: Callable[[], bool]) -> None:
        child = self.start()
        while child.poll() is None and not condition():
            time.sleep(POLL_S)
        child.send(signal.SIGKILL)
        child.end()


@dataclass(frozen=True)
class Reference:
    """An undisturbed run.

    Attributes:
        result: Result of the run.
        seconds: Duration.
        cache: Cache directory.
    """

    result: RunResult
    seconds: float
    cache: Path


def prepare(work: Path, random: np.random.Generator, views: str | None = None) -> tuple[Trainer, Reference]:
    """Return a trainer in an empty directory, and the undisturbed run of the same config.

    Args:
        work: Empty directory. The undisturbed runs of all tests are kept next to its parent.
        random: Selects the precision, and the views if they are None.
        views: Views of the training images: a number that is cached, or `fresh`.
    """
    precision = "auto" if random.random() < 0.5 else "float32"
    views = views or ("fresh" if random.random() < 0.5 else "2")
    references = work.parent.parent / "references"  # shared by all tests
    reference = _reference(references, precision, views)
    return Trainer(_write_config(work, references, precision, views), work), reference


@functools.cache
def _reference(folder: Path, precision: str, views: str) -> Reference:
    if not folder.exists():
        draw_dataset(folder / "images", train=24, validation=12, test=12, size=40)
    work = folder / f"{precision}-{views}"
    trainer = Trainer(_write_config(work, folder, precision, views), work)
    started = time.monotonic()
    result = trainer.finish()
    return Reference(result, time.monotonic() - started, work / "cache")


def _write_config(work: Path, folder: Path, precision: str, views: str) -> Path:
    work.mkdir(parents=True, exist_ok=True)
    text = CONFIG.replace("IMAGES", str(folder / "images")).replace("PRECISION", precision).replace("VIEWS", views)
    file = work / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return file
