"""`cnncli runs prune`: delete the checkpoints of finished runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cnncli.errors import Message, RunError, printable
from cnncli.runs.checkpoints import Checkpoints
from cnncli.runs.folder import RunFolder, locked
from cnncli.runs.listing import open_run, require_finished


def find_prunable(names: Sequence[str | Path], runs_dir: Path) -> dict[RunFolder, int]:
    """Return the size of the checkpoints of runs in bytes, by run.

    Args:
        names: Paths or names of finished runs; duplicates count once.
        runs_dir: Folder of the runs.

    Raises:
        RunError: All runs that do not exist or are unfinished.
    """
    sizes: dict[RunFolder, int] = {}
    problems: list[str] = []
    for name in names:
        try:
            run = open_run(name, runs_dir)
            require_finished(run)
        except RunError as error:
            problems += error.problems
        else:
            folders = Checkpoints(run.state).folders()
            sizes[run] = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
    if problems:
        raise RunError(problems)
    return sizes


def prune(runs: Iterable[RunFolder]) -> None:
    """Delete the checkpoints of runs, but no models, metrics or other files.

    Raises:
        RunError: A run is being trained, or its checkpoints cannot be deleted.
    """
    for run in runs:
        with locked(run):
            require_finished(run)
            try:
                Checkpoints(run.state).delete()
            except OSError as error:
                text = f"{printable(run.state)}: checkpoints cannot be deleted ({error.strerror})"
                facts = {"path": run.path, "reason": error.strerror}
                raise RunError(Message("run-folder-not-writable", text, **facts)) from error
