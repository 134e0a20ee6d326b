"""`cnncli runs prune`: delete the checkpoints of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.errors import Message, RunError, printable
from cnncli.runs.access import locked
from cnncli.runs.checkpoints import Checkpoints
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import open_run, require_finished


@dataclass(frozen=True)
class Prunable:
    """A finished run with checkpoints.

    Attributes:
        run: its directory.
        size_bytes: size of its checkpoints.
    """

    run: RunFolder
    size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the run for `runs prune --json`."""
        return {"path": str(self.run.path), "size_bytes": self.size_bytes}


def find_prunable(names: Sequence[str | Path], runs_dir: Path) -> tuple[Prunable, ...]:
    """Return the runs of some names, with the size of their checkpoints.

    Args:
        names: paths or names of finished runs; a run named twice counts once.
        runs_dir: folder of the runs.

    Raises:
        RunError: runs that do not exist or are not finished, all of them.
    """
    found: dict[Path, Prunable] = {}
    problems: list[str] = []
    for name in names:
        try:
            run = open_run(name, runs_dir)
            require_finished(run)
            found[run.path] = Prunable(run, _checkpoints_bytes(run))
        except RunError as error:
            problems += error.problems
    if problems:
        raise RunError(problems)
    return tuple(found.values())


def prune(prunable: Sequence[Prunable]) -> None:
    """Delete the checkpoints of runs. Models, metrics and everything else stays.

    Raises:
        RunError: a run is being trained, or its checkpoints cannot be deleted.
    """
    for one in prunable:
        with locked(one.run):
            require_finished(one.run)
            try:
                Checkpoints(one.run.state).delete()
            except OSError as error:
                text = f"{printable(one.run.state)}: {error.strerror}. Its checkpoints cannot be deleted."
                facts = {"path": one.run.path, "reason": error.strerror}
                raise RunError(Message("run-folder-not-writable", text, **facts)) from error


def _checkpoints_bytes(run: RunFolder) -> int:
    return sum(file.stat().st_size for folder in Checkpoints(run.state).folders() for file in folder.iterdir())
