"""The runs in a folder with their key figures; a broken one is listed as what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from cnncli.errors import CnncliError, RunError
from cnncli.runs.folder import RunFolder, run_folders
from cnncli.wording import duration

COLUMNS = ("run", "state", "mode", "backbone", "val accuracy", "test accuracy", "95 %", "n", "time")


@dataclass(frozen=True)
class RunSummary:
    """One run as a line of a list; what is not known is None.

    `name` is the name of the directory; `problem` says why a directory cannot be read as a run.
    """

    name: str
    path: Path
    state: str
    created: str | None = None
    parent: str | None = None
    mode: str | None = None
    backbone: str | None = None
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    test_ci95: tuple[float, float] | None = None
    test_n: int | None = None
    seconds: float | None = None
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def cells(self) -> tuple[str, ...]:
        """The fields as the `COLUMNS` of a table."""
        interval = self.test_ci95 and f"{self.test_ci95[0]:.3f}–{self.test_ci95[1]:.3f}"
        return (
            self.name,
            self.state,
            self.mode or "–",
            self.backbone or "–",
            "–" if self.val_accuracy is None else f"{self.val_accuracy:.3f}",
            "–" if self.test_accuracy is None else f"{self.test_accuracy:.3f}",
            interval or "–",
            "–" if self.test_n is None else f"{self.test_n:,}",
            "–" if self.seconds is None else duration(self.seconds),
        )


def list_runs(runs_dir: Path) -> tuple[RunSummary, ...]:
    """The runs of a folder, oldest first, those that cannot be read before them."""
    summaries = [summary_of(run) for run in run_folders(runs_dir)]
    return tuple(sorted(summaries, key=lambda run: (_moment(run), run.name)))


def _moment(run: RunSummary) -> float:
    return datetime.fromisoformat(run.created).timestamp() if run.created else 0.0


def summary_of(run: RunFolder) -> RunSummary:
    """One run in short; whatever its directory holds, this answers."""
    try:
        facts = run.read_facts()
        config = _settings(run.config)
        metrics = _metrics(run.metrics)
    except CnncliError as error:
        reason = error.problems[0].removeprefix(f"{run.path}: ")
        return RunSummary(run.path.name, run.path, "broken", problem=reason)
    backbone = config.get("backbone")
    test = metrics.get("test", {})
    return RunSummary(
        run.path.name,
        run.path,
        facts["state"],
        created=facts["created"],
        parent=facts.get("parent"),
        mode=config.get("mode"),
        backbone=backbone.get("name") if isinstance(backbone, dict) else None,
        val_accuracy=_number(metrics.get("validation", {}).get("top1")),
        test_accuracy=_number(test.get("top1")),
        test_ci95=_interval(test.get("top1_ci95")),
        test_n=test.get("n") if isinstance(test.get("n"), int) else None,
        seconds=_number(facts.get("seconds")),
    )


def _settings(path: Path) -> dict[str, Any]:
    """The config as plain data: a list needs no more, and the data it names may be gone."""
    try:
        settings = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError) as error:
        raise RunError(f"{path.name} cannot be read ({_first_line(error)})") from None
    if not isinstance(settings, dict):
        raise RunError(f"{path.name} holds no settings")
    return settings


def _metrics(path: Path) -> dict[str, Mapping[str, Any]]:
    """Split -> figures; empty before the end of the training."""
    try:
        metrics = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path.name} cannot be read ({_first_line(error)})") from None
    if not isinstance(metrics, dict):
        raise RunError(f"{path.name} holds no figures")
    return {split: figures for split, figures in metrics.items() if isinstance(figures, dict)}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _interval(value: object) -> tuple[float, float] | None:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(end, (int, float)) for end in value):
        return float(value[0]), float(value[1])
    return None
