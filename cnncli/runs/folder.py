"""How a run directory appears, how its end is recorded, and how it is found again."""

from __future__ import annotations

import difflib
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cnncli.errors import RunError, printable
from cnncli.runs.layout import RunFolder, runs_dir_from
from cnncli.runs.run_json import facts_text, stamp, time_text, utc_now, write_facts
from cnncli.runs.symlink_check import require_own_files
from cnncli.runtime.environment import cnncli_version
from cnncli.runtime.machine import expand_home, require_utf8
from cnncli.storage.atomic import sync_folder, write_atomically

__all__ = [
    "RunFolder",
    "create_run",
    "fail_run",
    "finish_run",
    "open_run",
    "require_finished",
    "restart_run",
    "run_folders",
    "runs_dir_from",
    "stop_run",
    "update_facts",
]

LISTED_RUNS = 8


def create_run(
    runs_dir: Path,
    name: str,
    files: Mapping[str, str],
    parent: str | Path | None = None,
    facts: Mapping[str, Any] | None = None,
) -> RunFolder:
    """A new run directory `<UTC time>_<name>`, which appears at once with everything it is given.

    Args:
        runs_dir: the folder of the runs; made where it is missing.
        name: of the run; a run of the same name in the same second gets -2, -3 …
        files: name inside the run -> text; config.yaml must be among them.
        parent: the run this one continues.
        facts: more for run.json, beside state, name, parent, times and version.

    Raises:
        RunError: the folder cannot be written to.
        MachineError: its path is not UTF-8.
    """
    if RunFolder(Path()).config.name not in files:
        raise ValueError("a run appears with its resolved config, config.yaml is missing")
    require_utf8(runs_dir)
    now = utc_now()
    aside = runs_dir / f".creating-{os.urandom(8).hex()}"
    try:
        aside.mkdir(parents=True)
        for file, text in {**files, "run.json": facts_text(_first_facts(name, parent, now, facts or {}))}.items():
            (aside / file).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(aside / file, text)
        return RunFolder(_appear(aside, runs_dir / f"{stamp(now)}_{name}"))
    except OSError as error:
        raise RunError(
            f"{printable(runs_dir)}: no run can be created here ({error.strerror}); choose a folder with --runs-dir"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _first_facts(name: str, parent: str | Path | None, now: datetime, more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "state": "running",
        "name": name,
        "parent": None if parent is None else str(parent),
        "created": time_text(now),
        "finished": None,
        "seconds": None,
        "command": _command(),
        "cnncli": cnncli_version(),
        **more,
    }


def _command() -> str:
    """The words this process was called with, the program by its name alone."""
    program = Path(sys.argv[0] or "python")
    name = f"python -m {program.parent.name}" if program.name == "__main__.py" else shlex.quote(program.name)
    return " ".join([name, *map(shlex.quote, sys.argv[1:])])


def _appear(aside: Path, wanted: Path) -> Path:
    """Rename a filled folder to the first free name of wanted, wanted-2, wanted-3 …; gives that name.

    A rename onto a run fails, since no run is empty: two processes that want one name cannot both get it.
    """
    number, path = 1, wanted
    while True:
        try:
            aside.rename(path)
        except OSError:
            if not os.path.lexists(path):
                raise
            number += 1
            path = wanted.with_name(f"{wanted.name}-{number}")
        else:
            sync_folder(path.parent)
            return path


def finish_run(run: RunFolder, facts: Mapping[str, Any] | None = None) -> None:
    """Record that a run is finished, with the facts that are known by now."""
    _end(run, {"state": "finished", **(facts or {})})


def fail_run(run: RunFolder, reason: str) -> None:
    """Record that a run failed, and why."""
    _end(run, {"state": "failed", "reason": reason})


def stop_run(run: RunFolder) -> None:
    """Record that a run was stopped by a signal; it can go on."""
    _end(run, {"state": "stopped"})


def restart_run(run: RunFolder) -> None:
    """Record that a run goes on."""
    write_facts(run.facts, {**run.read_facts(), "state": "running", "finished": None, "reason": None})


def _end(run: RunFolder, news: Mapping[str, Any]) -> None:
    facts, now = run.read_facts(), utc_now()
    seconds = round((now - datetime.fromisoformat(facts["created"])).total_seconds(), 3)
    write_facts(run.facts, {**facts, "finished": time_text(now), "seconds": seconds, **news})


def update_facts(run: RunFolder, facts: Mapping[str, Any]) -> None:
    """Add to what run.json says, or replace it."""
    write_facts(run.facts, {**run.read_facts(), **facts})


def run_folders(runs_dir: Path) -> Iterator[RunFolder]:
    """The directories in the folder of the runs that are no one else's: those without a leading dot, by name."""
    if runs_dir.is_dir():
        for path in sorted(runs_dir.iterdir()):
            if not path.name.startswith(".") and path.is_dir():
                yield RunFolder(path.absolute())


def open_run(path: str | Path | None, runs_dir: Path) -> RunFolder:
    """A run: a directory anywhere, the name of a directory in `runs_dir`, the newest with a name; None: the newest.

    By a name or None, the newest finished run is found; by a name alone, an unfinished one where none is finished.

    Raises:
        RunError: there is no such run; the message lists what there is. Or it holds links in the place of files.
    """
    run = _found(path, runs_dir)
    require_utf8(run.path)
    require_own_files(run)
    return run


def _found(path: str | Path | None, runs_dir: Path) -> RunFolder:
    if path is None:
        return _newest(runs_dir, None)
    candidates = [RunFolder(place) for place in (expand_home(path), runs_dir.absolute() / path)]
    for run in candidates:
        if run.facts.exists():
            run.read_facts()  # refuses a damaged one, and a newer format
            return run
    if candidates[0].path.is_dir() and len(Path(path).parts) != 1:
        raise RunError(f"{printable(path)}: not a run, it holds no {candidates[0].facts.name}")
    return _newest(runs_dir, str(path))


def require_finished(run: RunFolder) -> dict[str, Any]:
    """The facts of a run that is finished; RunError where it is not."""
    facts = run.read_facts()
    if facts["state"] != "finished":
        reason = f": {printable(str(facts['reason']))}" if facts.get("reason") else ""
        raise RunError(f"{printable(run.path)}: this run is not finished, its state is {facts['state']}{reason}")
    return facts


def _newest(runs_dir: Path, name: str | None) -> RunFolder:
    known = [(run, facts) for run in run_folders(runs_dir) if (facts := _facts_or_none(run)) is not None]
    named = [(run, facts) for run, facts in known if name is None or facts.get("name") == name]
    finished = [(run, facts) for run, facts in named if facts["state"] == "finished"]
    if not finished and (name is None or not named):
        raise RunError(_not_found(runs_dir, name, [(run.path.name, facts["state"]) for run, facts in known]))
    return max(finished or named, key=lambda pair: (datetime.fromisoformat(pair[1]["created"]), pair[0].path.name))[0]


def _facts_or_none(run: RunFolder) -> dict[str, Any] | None:
    try:
        return run.read_facts()
    except RunError:
        return None


def _not_found(runs_dir: Path, name: str | None, known: list[tuple[str, str]]) -> str:
    where = printable(runs_dir)
    what = (
        f"no finished run in {where}"
        if name is None
        else f"{printable(name)}: no such directory, and no run in {where}"
    )
    if not known:
        return f"{what}, which holds none; `cnncli train` makes one, --runs-dir names another folder"
    near = difflib.get_close_matches(name or "", [folder for folder, _ in known], n=LISTED_RUNS, cutoff=0.3)
    ordered = near + [folder for folder, _ in reversed(known) if folder not in near]
    states = dict(known)
    listed = ", ".join(f"{printable(folder)} ({states[folder]})" for folder in ordered[:LISTED_RUNS])
    more = f" and {len(ordered) - LISTED_RUNS} more" if len(ordered) > LISTED_RUNS else ""
    return f"{what}; there are {listed}{more}"
