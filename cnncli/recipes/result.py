"""What the recipes give back: plain facts for a notebook, and for the command line to print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.evaluation.metrics import Metrics
from cnncli.features.extract import Counts
from cnncli.runs.folder import RunFolder


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: the run directory.
        metrics: of each split that was scored at the end: validation, and test where there is one.
        seconds: from the first line of the recipe to the last.
        features: how many features, or decoded pixels, were stored for it now, and how many already.
        layers: how many of the backbone's layers `unfreeze` counts; 0 where all of them have trained already.
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


def brief(metrics: Metrics) -> dict[str, Any]:
    """The four figures of a split that go everywhere."""
    return {"n": metrics.n, "loss": metrics.loss, "top1": metrics.top1, "top1_ci95": list(metrics.top1_ci95)}
