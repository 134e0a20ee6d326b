"""What the recipes give back: plain facts for a notebook, and for the command line to print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.errors import RunError, printable
from cnncli.features.extract import Counts
from cnncli.metrics.classification import Metrics
from cnncli.runs.folder import RunFolder
from cnncli.storage.safe_io import read_json


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: the run directory.
        metrics: of each split that was scored at the end: validation, and test where there is one.
        seconds: from the first line of the recipe to the last.
        features: how many features, or decoded pixels, were stored for it now, and how many already.
        layers: how many of the backbone's layers `unfreeze` counts; 0 where all of them have trained already, or where
            nobody has looked.
    """

    folder: RunFolder
    metrics: Mapping[str, Metrics]
    seconds: float
    features: Counts
    layers: int

    @property
    def path(self) -> Path:
        """The run directory, absolute."""
        return self.folder.path

    def to_dict(self) -> dict[str, Any]:
        """As `train --json` prints it."""
        return {
            "run": str(self.path),
            "metrics": {split: brief(metrics) for split, metrics in self.metrics.items()},
            "seconds": round(self.seconds, 3),
            "features": {"computed": self.features.computed, "reused": self.features.reused},
        }


def finished_run(folder: RunFolder) -> Run:
    """A finished training, from what it wrote.

    Raises:
        RunError: its figures cannot be read.
    """
    try:
        document = read_json(folder.metrics)
        metrics = {split: Metrics.from_dict(figures) for split, figures in document.items()}
        seconds = float(folder.read_facts()["seconds"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{printable(folder.metrics)}: cannot be read ({printable(str(error))}).") from error
    return Run(folder, metrics, seconds, Counts(), layers=0)


def shortest(path: Path) -> Path:
    """Relative to the current folder where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def brief(metrics: Metrics) -> dict[str, Any]:
    """The four figures of a split that go everywhere."""
    return {"n": metrics.n, "loss": metrics.loss, "top1": metrics.top1, "top1_ci95": list(metrics.top1_ci95)}
