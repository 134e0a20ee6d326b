"""The setting of a benchmark: images, weights, a temporary folder, and commands in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from scripts.benchmarks.rows import ROOT

SHARED = ROOT.parent / "shared"
"""Folder of photographs and weights."""
PHOTOGRAPHS = SHARED / "data" / "dogs-vs-cats"


@dataclass(frozen=True)
class Setting:
    """The setting of a benchmark.

    Attributes:
        work: Temporary folder.
        rounds: Number of rounds.
        quick: Whether to use few images: only to see that it runs.
        precision: Precision of cnncli.
        data: Folder of train, validation and test.
        weights: Folder of `NAME_notop.weights.h5` files.
        torch: Python of an environment with torch, timm and ultralytics.
    """

    work: Path
    rounds: int = 5
    quick: bool = False
    precision: str = "auto"
    data: Path = PHOTOGRAPHS if PHOTOGRAPHS.is_dir() else ROOT / "data" / "sample"
    weights: Path = SHARED / "weights"
    torch: Path = Path(sys.executable)

    def count(self, n: int) -> int:
        """Return a number of images, or 64 if the benchmark is quick: enough to judge int8."""
        return min(n, 64) if self.quick else n

    def splits(self, train: int = 2000, validation: int = 1000, test: int = 1000) -> Path:
        """Copy images of each split, balanced between the classes, to a new folder."""
        out = self.work / "data"
        shutil.rmtree(out, ignore_errors=True)
        for split, n in {"train": train, "validation": validation, "test": test}.items():
            classes = sorted(path for path in (self.data / split).iterdir() if path.is_dir())
            for source in classes:
                (target := out / split / source.name).mkdir(parents=True)
                for path in islice(sorted(source.iterdir()), self.count(n) // len(classes)):
                    shutil.copyfile(path, target / path.name)
        return out

    def weights_of(self, network: str) -> str:
        """Return `backbone.weights` of a network: those that are installed, a file in the folder, or none."""
        if network.startswith("EfficientNetLite"):
            return "imagenet"
        file = self.weights / f"{network}_notop.weights.h5"
        return str(file) if file.is_file() else "none"

    def backbone(self, network: str) -> list[str]:
        """Return the overrides that select a network and its weights."""
        return [f"backbone.name={network}", f"backbone.weights={self.weights_of(network)}"]

    def cnncli(self, *words: str | Path, cache: str = "cache") -> Finished:
        """Run a command of cnncli with a feature cache of the given name."""
        return run([sys.executable, "-m", "cnncli", *map(str, words)], self.work / cache)

    def train(self, data: Path, *settings: str, cache: str = "cache") -> Finished:
        """Train with cnncli."""
        precision = [] if self.precision == "auto" else [f"precision={self.precision}"]
        words = [*settings, *precision, "--json", "--quiet", "--runs-dir", str(self.work / "runs")]
        return self.cnncli("train", data, *words, cache=cache)

    def plain(self, script: str, *words: object, python: str | Path = sys.executable) -> Finished:
        """Run a script of the other side."""
        return run([str(python), "-m", f"scripts.benchmarks.plain.{script}", *map(str, words)], self.work / "cache")


@dataclass(frozen=True)
class Finished:
    """A command that succeeded: its seconds, those until its first output, and its output.

    A training of cnncli prints its results before it draws figures and verifies the saved classifier.
    """

    seconds: float
    seconds_to_output: float
    stdout: str

    @property
    def document(self) -> Any:
        """JSON document in the output, or in its last line."""
        last = self.stdout.strip().splitlines()[-1]
        return json.loads(last if last.startswith("{") and last.endswith("}") else self.stdout)

    @property
    def accuracy(self) -> float:
        """Test accuracy of a training of cnncli in percent."""
        return 100 * float(self.document["metrics"]["test"]["top1"])


def run(command: Sequence[str], cache: Path) -> Finished:
    """Run a command to its end. Raises RuntimeError with the last lines of stderr if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CNNCLI_CACHE": str(cache)}
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
        first = process.stdout.read(1) if process.stdout else ""
        seconds_to_output = time.perf_counter() - started
        rest, _ = process.communicate()
        seconds = time.perf_counter() - started
        if process.returncode:
            errors.seek(0)
            end = "\n".join(errors.read().strip().splitlines()[-10:])
            raise RuntimeError(f"{' '.join(command)} exited with {process.returncode}:\n{end}")
    return Finished(seconds, seconds_to_output, first + rest)
