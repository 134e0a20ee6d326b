"""The run folder: the name of every file in it, and where the folder of the runs is.

    runs/2026-11-21T151200Z_vgg16-features/
        config.yaml  manifest.csv  classes.json  environment.json   what was trained, on what, with what
        skipped.csv  near_duplicates.csv                            images left out, or alike in two splits, if any
        run.json  log.txt                                           state and key facts; every line that was said
        history.csv  stages.json  metrics.json  figures/  tensorboard/
        state/  lock                                                what it began with, checkpoints; who is training
        model.keras  engine/                                        the classifier, and its converted form
        evaluations.jsonl                                           how often a split was looked at since

A run directory appears by one rename, already holding its resolved config. Everything else in the folder of the runs
starts with a dot.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.runs.run_json import read_facts
from cnncli.runtime.machine import expand_home

DEFAULT_RUNS_DIR = "runs"


@dataclass(frozen=True)
class RunFolder:
    """One directory with everything about one training; the properties name its files, there or not yet."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config: every setting, absolute paths."""
        return self.path / "config.yaml"

    @property
    def began_with(self) -> Path:
        """The resolved config once more, as it was when the run began: no place where anybody would edit it."""
        return self.state / "config.yaml"

    @property
    def manifest(self) -> Path:
        """The table of images: path, label, split, digest, size."""
        return self.path / "manifest.csv"

    @property
    def skipped(self) -> Path:
        """The unreadable images that were left out, with the reason of each; only where there are any."""
        return self.path / "skipped.csv"

    @property
    def near_duplicates(self) -> Path:
        """The pairs of images that look alike in different splits; only where there are any."""
        return self.path / "near_duplicates.csv"

    @property
    def classes(self) -> Path:
        """The class names, in the order of the classifier's outputs."""
        return self.path / "classes.json"

    @property
    def facts(self) -> Path:
        """State, name, parent, times, engine, precision."""
        return self.path / "run.json"

    @property
    def environment(self) -> Path:
        """Versions, processor, git commit."""
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        """Every line that was said, with its time in UTC."""
        return self.path / "log.txt"

    @property
    def history(self) -> Path:
        """One row per epoch."""
        return self.path / "history.csv"

    @property
    def ledger(self) -> Path:
        """One record per stage: what was trained, and the proof that nothing else moved."""
        return self.path / "stages.json"

    @property
    def metrics(self) -> Path:
        """The figures of each split at the end of the training."""
        return self.path / "metrics.json"

    @property
    def curves(self) -> Path:
        """Loss and accuracy over the epochs, drawn."""
        return self.path / "figures" / "curves.png"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's logs."""
        return self.path / "tensorboard"

    @property
    def model(self) -> Path:
        """The classifier: raw RGB in, probabilities out."""
        return self.path / "model.keras"

    @property
    def engine(self) -> Path:
        """The classifier as an engine runs it fastest."""
        return self.path / "engine"

    @property
    def state(self) -> Path:
        """The checkpoints, from which a training that was interrupted goes on."""
        return self.path / "state"

    @property
    def lock(self) -> Path:
        """Held by the process that trains the run; holds its number."""
        return self.path / "lock"

    @property
    def evaluations(self) -> Path:
        """One JSON line per evaluation since the training."""
        return self.path / "evaluations.jsonl"

    def read_facts(self) -> dict[str, Any]:
        """The facts of run.json; RunError where it is missing, damaged or of a newer format."""
        return read_facts(self.facts)


def runs_dir_from(option: str | Path | None) -> Path:
    """The folder of the runs, absolute: the option, else CNNCLI_RUNS, else ./runs."""
    if option:
        return expand_home(option)
    return expand_home(os.environ.get("CNNCLI_RUNS") or DEFAULT_RUNS_DIR, "CNNCLI_RUNS")
