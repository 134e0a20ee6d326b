"""Find a run by path or name, or list all runs with their results. Broken runs are listed as broken."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cnncli.errors import Message, RunError, printable
from cnncli.runs.documents import damaged
from cnncli.runs.folder import (
    RunFolder,
    in_training,
    not_a_run,
    require_own_files,
    run_folders,
    runs_dir_from,
    state_of,
)
from cnncli.runtime.machine import expand_home, require_utf8
from cnncli.terminal.formatting import duration, percent, percent_range
from cnncli.terminal.suggestions import closest, did_you_mean

COLUMNS = ("run", "state", "mode", "backbone", "validation", "test", "95 % interval", "images", "time")
OPTIONAL = ("mode", "time", "images", "backbone", "95 % interval")
"""Columns that a narrow terminal does not show, the least important first."""

MAX_LISTED = 3

Preferred = Literal["finished", "unfinished"]


def open_run(name: str | Path | None, runs_dir: Path, prefer: Preferred = "finished") -> RunFolder:
    """Return the run with a path or a name. Every command finds runs with this function.

    Args:
        name: A run directory anywhere, the name of a directory in `runs_dir`, or the name of a run. None: any run, but
            only a finished one if these are preferred.
        runs_dir: Folder of the runs.
        prefer: Which of several runs to return: the newest finished or the newest unfinished one.

    Raises:
        RunError: There is no such run (the message lists similar or the newest ones), or it contains links.
        MachineError: The path starts with `~` and there is no such home folder, or it is not UTF-8.
    """
    run = _find(name, runs_dir, prefer)
    require_utf8(run.path)
    require_own_files(run)
    return run


def find_run(source: Path, runs_dir: Path) -> RunFolder | None:
    """Return the run that `train` should resume, or None if `source` is a config or a folder of images.

    An existing path takes precedence over a run with that name. Raises RunError if the run is damaged.
    """
    if os.path.lexists(source) and not RunFolder(source).facts.is_file():
        return None
    try:
        return open_run(source, runs_dir, prefer="unfinished")
    except RunError as error:
        if error.code == "run-not-found":
            return None
        raise


def _find(name: str | Path | None, runs_dir: Path, prefer: Preferred) -> RunFolder:
    if name is None:
        return _newest(runs_dir, None, prefer)
    path = expand_home(name)
    for run in (RunFolder(path), RunFolder(runs_dir.absolute() / name)):
        if run.facts.exists():
            run.read_facts()  # refuses damaged ones and newer formats
            return run
    if path.is_dir() and len(Path(name).parts) != 1:
        raise not_a_run(Path(name))
    return _newest(runs_dir, str(name), prefer)


def _newest(runs_dir: Path, name: str | None, prefer: Preferred) -> RunFolder:
    known: dict[RunFolder, dict[str, Any]] = {}
    for run in run_folders(runs_dir):
        with suppress(RunError):
            known[run] = run.read_facts()
    named = {run: facts for run, facts in known.items() if name is None or facts.get("name") == name}
    preferred = [run for run, facts in named.items() if (facts["state"] == "finished") == (prefer == "finished")]
    if not preferred and (not named or (name is None and prefer == "finished")):
        states = {run.path.name: state_of(run, facts) for run, facts in known.items()}
        raise RunError(_not_found(runs_dir, name, states))
    return max(preferred or named, key=lambda run: (known[run]["created"], run.path.name))


def _not_found(runs_dir: Path, name: str | None, states: Mapping[str, str]) -> Message:
    """Return a message that lists the runs with similar names or, if there are none, the newest runs."""
    newest = sorted(states, reverse=True)
    similar = [folder for folder in newest if name and closest(name, [folder, folder.partition("_")[2]])]
    shown = (similar or newest)[:MAX_LISTED]
    listed = ", ".join(f"{printable(folder)} ({states[folder]})" for folder in shown)
    if len(shown) < len(newest):
        option = "" if runs_dir == runs_dir_from(None) else f" --runs-dir {shlex.quote(printable(runs_dir))}"
        listed = f"{'Similar' if similar else 'Newest'} runs: {listed}; `cnncli runs{option}` lists all {len(newest)}"
    else:
        listed = f"Runs there: {listed}"
    remedy = ", which has no runs. `cnncli train` creates one; --runs-dir selects another folder."
    subject = "no finished run" if name is None else f"{printable(name)}: no such run"
    names = sorted({folder.partition("_")[2] for folder in shown})
    hint = f"{did_you_mean(name or '', names)} ".lstrip()
    return Message(
        "run-none-finished" if name is None else "run-not-found",
        f"{subject} in {printable(runs_dir)}{f'. {hint}{listed}' if shown else remedy}",
        path=runs_dir,
        received=name,
        expected=tuple(shown),
    )


def require_finished(run: RunFolder) -> dict[str, Any]:
    """Return the facts of a run. Raises RunError if it is unfinished or being trained."""
    facts = run.read_facts()
    if (state := state_of(run, facts)) == "running":
        raise in_training(run)
    if state != "finished":
        reason = f" ({printable(str(facts['reason']))})" if facts.get("reason") else ""
        text = (
            f"{printable(run.path)}: the run is not finished (state: {state}){reason}; `cnncli train RUN` resumes it."
        )
        raise RunError(Message("run-not-finished", text, path=run.path, received=state, reason=facts.get("reason")))
    return facts


@dataclass(frozen=True)
class RunSummary:
    """A run with its results. Unknown values are None.

    `state` is that of run.json, `interrupted` or `broken`. Accuracies are 0-1, and `test_ci95` is the 95 % Wilson
    interval.
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
    problem: Message | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the fields as a table row with the columns `COLUMNS`."""
        return (
            self.name,
            "broken" if self.problem else self.state,
            self.mode or "–",
            self.backbone or "–",
            "–" if self.val_accuracy is None else percent(self.val_accuracy),
            "–" if self.test_accuracy is None else percent(self.test_accuracy),
            "–" if self.test_ci95 is None else percent_range(*self.test_ci95),
            "–" if self.test_n is None else f"{self.test_n:,}",
            "–" if self.seconds is None else duration(self.seconds),
        )


def list_runs(runs_dir: Path) -> tuple[RunSummary, ...]:
    """Return the runs of a folder, first those that cannot be read, then the oldest."""
    summaries = map(_summarize, run_folders(runs_dir))
    return tuple(sorted(summaries, key=lambda run: (run.created or "", run.name)))


def _summarize(run: RunFolder) -> RunSummary:
    """Summarize a run from its run.json, without failing, whatever the directory contains."""
    try:
        facts = run.read_facts()
        metrics = facts.get("metrics") or {}
        validation, test = metrics.get("validation") or {}, metrics.get("test") or {}
        interval = test.get("top1_ci95")
        summary = RunSummary(
            run.path.name,
            run.path,
            state_of(run, facts),
            **{name: facts.get(name) for name in ("created", "parent", "mode", "backbone", "seconds")},
            val_accuracy=validation.get("top1"),
            test_accuracy=test.get("top1"),
            test_ci95=None if interval is None else tuple(interval),
            test_n=test.get("n"),
            problem=_missing_files(run, facts["state"]),
        )
        summary.cells()  # fails if a result is not a number
        return summary
    except RunError as error:
        problem = error.problems[0]
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        problem = damaged(run.facts, f"its results cannot be read ({error})").problems[0]
    return RunSummary(run.path.name, run.path, "broken", problem=problem)


def _missing_files(run: RunFolder, state: str) -> Message | None:
    needed = [run.config, run.model] if state == "finished" else [run.config]
    if absent := [path.name for path in needed if not path.is_file()]:
        text = f"{printable(run.path)}: {' and '.join(absent)} missing"
        return Message("run-file-missing", text, path=run.path, received=absent)
    return None
