"""Trainings in processes of their own, that can be killed, and what they end with."""

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
from tests.fault_injection.children import LOOK_S, Child
from tests.fault_injection.drawings import write_drawings

TIMES = ("seconds", "images_per_s")
CONFIG = """
name: tortured
mode: fine-tuning
data: {path: IMAGES, image_size: 32}
backbone: {name: ConvNet, weights: none, options: {filters: [8, 16], batch_norm: true}}
head: {layers: [{dense: 8}, {dropout: 0.4}]}
augmentation: {rotation_range: 20, horizontal_flip: true, views: VIEWS, mixup: 0.3}
precision: PRECISION
training:
  batch_size: 8
  optimizer: {name: adam, learning_rate: 0.01}
  reduce_on_plateau: {patience: 1, factor: 0.5}
  stages:
    - {name: head, epochs: 3}
    - {name: all, unfreeze: all, epochs: 6, early_stopping: {patience: 4, min_delta: 100}}
"""
"""Dropout, batch normalisation, plateaus, MixUp; the second stage stops early, as nothing improves by 100."""


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
        before: called first in each process.
        runs_name: of the folder of runs.
        output: name of the file for what is printed.
    """

    config: Path
    work: Path
    before: Callable[[], object] | None = None
    runs_name: str = "runs"
    output: str = "output.txt"

    @property
    def runs(self) -> Path:
        """Folder of the runs."""
        return self.work / self.runs_name

    def newest(self) -> RunFolder | None:
        """The run that appeared last, if any has."""
        if not self.runs.is_dir():
            return None
        found = sorted(path for path in self.runs.iterdir() if not path.name.startswith("."))
        return RunFolder(found[-1]) if found else None

    def start(self, *words: str) -> Child:
        """Begin, or go on with the run that is there."""
        run = self.newest()
        command = ["train", str(run.path if run else self.config), *words, "--runs-dir", str(self.runs), "--quiet"]
        self.work.mkdir(parents=True, exist_ok=True)
        return Child(command, self.work / self.output, {"CNNCLI_CACHE": str(self.work / "cache")}, self.before)

    def finish(self) -> Ended:
        """Train to the end, whatever is there already, with nothing in the way."""
        child = replace(self, before=None).start()
        code, run = child.end(), self.newest()
        assert code == 0, f"exit code {code}: {child.said()}"
        assert run is not None
        return Ended.of(run)

    def signal_after(self, seconds: float, number: int = signal.SIGKILL) -> int:
        """Start, and send a signal after so many seconds; gives the exit code."""
        child = self.start()
        child.wait(seconds)
        child.send(number)
        return child.end()

    def kill_after_saves(self, number: int) -> None:
        """Start, and kill as soon as there are so many checkpoints."""
        child = self.start()
        while child.poll() is None:
            run = self.newest()
            saved = [path for path in run.state.glob("0*") if int(path.name) >= number] if run else []
            if saved:
                break
            time.sleep(LOOK_S)
        child.send(signal.SIGKILL)
        child.end()

    def kill_inside_a_save(self, number: int, longest_s: float = 60.0) -> None:
        """Start, and kill while the so-many-th checkpoint from now is being written, if there are as many."""
        child, seen = self.start(), set[str]()
        deadline = time.monotonic() + longest_s
        while child.poll() is None and time.monotonic() < deadline:
            run = self.newest()
            asides = {path.name for path in run.state.glob(".*")} if run and run.state.is_dir() else set()
            seen |= asides
            if asides and len(seen) >= number:
                break
            time.sleep(LOOK_S)
        child.send(signal.SIGKILL)
        child.end()


@dataclass(frozen=True)
class Reference:
    """A training that nobody disturbs.

    Attributes:
        ended: what it ends with.
        seconds: that it takes.
        cache: what it has stored.
    """

    ended: Ended
    seconds: float
    cache: Path


def prepare(work: Path, random: np.random.Generator, views: str | None = None) -> tuple[Trainer, Reference]:
    """What trains in an empty folder, and what comes out undisturbed.

    Args:
        work: the folder; what undisturbed ones end with is kept beside it.
        random: chooses the precision, and views where they are None.
        views: of the training images; stored, or fresh ones that are not.
    """
    precision = "auto" if random.random() < 0.5 else "float32"
    views = views or ("fresh" if random.random() < 0.5 else "2")
    references = work.parent.parent / "references"  # one for all tests
    reference = _reference(references, precision, views)
    return Trainer(_write_config(work, references, precision, views), work), reference


@functools.cache
def _reference(folder: Path, precision: str, views: str) -> Reference:
    if not folder.exists():
        write_drawings(folder / "images", {"train": 24, "validation": 12, "test": 12})
    work = folder / f"{precision}-{views}"
    trainer = Trainer(_write_config(work, folder, precision, views), work)
    started = time.monotonic()
    ended = trainer.finish()
    return Reference(ended, time.monotonic() - started, work / "cache")


def _write_config(work: Path, folder: Path, precision: str, views: str) -> Path:
    work.mkdir(parents=True, exist_ok=True)
    text = CONFIG.replace("IMAGES", str(folder / "images")).replace("PRECISION", precision).replace("VIEWS", views)
    file = work / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return file
