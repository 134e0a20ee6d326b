"""The runs in a folder with their key figures; a broken one is listed as what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from cnncli.errors import RunError, printable
from cnncli.runs.folder import RunFolder, run_folders
from cnncli.terminal.formatting import duration

COLUMNS = ("run", "state", "mode", "backbone", "val", "test", "95 %", "n", "time")
ABSURD = 1e15
"""No figure of a run is as large, nor infinite, nor no number at all; a damaged run.json may say so."""


@dataclass(frozen=True)
class RunSummary:
    """One run as a line of a list; what is not known is None.

    `name` is the name of the directory; `problem` says what is wrong with it, in a run that is whole nothing.
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
            "broken" if self.problem else self.state,
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
    """One run in short, from run.json alone; whatever its directory holds, this answers."""
    try:
        facts = run.read_facts()
    except RunError as error:
        return RunSummary(
            run.path.name, run.path, "broken", problem=error.problems[0].removeprefix(f"{printable(run.path)}: ")
        )
    validation, test = _figures(facts, "validation"), _figures(facts, "test")
    return RunSummary(
        run.path.name,
        run.path,
        facts["state"],
        created=facts["created"],
        parent=_text(facts.get("parent")),
        mode=_text(facts.get("mode")),
        backbone=_text(facts.get("backbone")),
        val_accuracy=_number(validation.get("top1")),
        test_accuracy=_number(test.get("top1")),
        test_ci95=_interval(test.get("top1_ci95")),
        test_n=None if (n := _number(test.get("n"))) is None else int(n),
        seconds=_number(facts.get("seconds")),
        problem=_missing(run, facts["state"]),
    )


def _missing(run: RunFolder, state: str) -> str | None:
    """What a run should hold and does not."""
    needed = [run.config, run.model] if state == "finished" else [run.config]
    absent = [path.name for path in needed if not path.is_file()]
    return f"it lacks {' and '.join(absent)}" if absent else None


def _figures(facts: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    """The figures of a split; empty before the end of the training."""
    splits = facts.get("metrics")
    found = splits.get(split) if isinstance(splits, dict) else None
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < ABSURD else None  # type: ignore[arg-type]


def _interval(value: object) -> tuple[float, float] | None:
    ends = [_number(end) for end in value] if isinstance(value, list) and len(value) == 2 else []
    return (ends[0], ends[1]) if len(ends) == 2 and ends[0] is not None and ends[1] is not None else None
