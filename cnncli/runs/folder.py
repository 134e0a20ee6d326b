"""The run directory: what is in it, how it appears, and how its state changes.

    runs/2026-11-21T151200Z_vgg16-features/
        config.yaml  manifest.csv  classes.json  environment.json   what was trained, on what, with what
        skipped.csv  near_duplicates.csv                            images left out; similar images in two splits
        run.json  log.txt                                           state and key facts; all messages
        history.csv  stages.json  metrics.json  figures/  tensorboard/
        state/  lock                                                initial config, checkpoints; who is training
        model.keras  engine/                                        the classifier, and its converted form
        evaluations.jsonl                                           evaluations after the training

A run directory appears by one rename with its resolved config in it. Everything else in the folder of the runs has a
name with a leading dot.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cnncli.errors import Message, RunError, printable
from cnncli.runs.run_json import facts_text, read_facts, stamp, time_text, utc_now, write_facts
from cnncli.runtime.environment import cnncli_version
from cnncli.runtime.machine import expand_home, require_utf8
from cnncli.storage.atomic import sync_folder, write_atomically

VARIABLE = "CNNCLI_RUNS"
DEFAULT_RUNS_DIR = "runs"


@dataclass(frozen=True)
class RunFolder:
    """One directory with everything about one training. The properties are the paths of its files, present or not."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config: every setting, absolute paths."""
        return self.path / "config.yaml"

    @property
    def began_with(self) -> Path:
        """A second copy of the resolved config, from the start of the run, to detect edits."""
        return self.state / "config.yaml"

    @property
    def manifest(self) -> Path:
        """The table of images: path, label, split, digest, size."""
        return self.path / "manifest.csv"

    @property
    def skipped(self) -> Path:
        """The unreadable images that were left out, with reasons; only if there are any."""
        return self.path / "skipped.csv"

    @property
    def near_duplicates(self) -> Path:
        """The pairs of similar images in different splits; only if there are any."""
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
        """All messages, with their time in UTC."""
        return self.path / "log.txt"

    @property
    def history(self) -> Path:
        """One row per epoch."""
        return self.path / "history.csv"

    @property
    def stages(self) -> Path:
        """One report per stage: what was trained, and hashes that prove that frozen weights did not change."""
        return self.path / "stages.json"

    @property
    def metrics(self) -> Path:
        """The metrics of each split at the end of the training."""
        return self.path / "metrics.json"

    @property
    def curves(self) -> Path:
        """Loss and accuracy over the epochs, as an image."""
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
        """The classifier in the form that its engine runs fastest."""
        return self.path / "engine"

    @property
    def state(self) -> Path:
        """The checkpoints from which a training resumes."""
        return self.path / "state"

    @property
    def lock(self) -> Path:
        """Held by the process that trains the run; holds its process ID."""
        return self.path / "lock"

    @property
    def evaluations(self) -> Path:
        """One JSON line per evaluation after the training."""
        return self.path / "evaluations.jsonl"

    def read_facts(self) -> dict[str, Any]:
        """Read run.json.

        Raises:
            RunError: it is missing or damaged, or a newer cnncli wrote it.
        """
        return read_facts(self.facts)


def runs_dir_from(option: str | Path | None) -> Path:
    """Return the folder of the runs as an absolute path: the option, else `CNNCLI_RUNS`, else `./runs`.

    Raises:
        MachineError: it begins with `~` and there is no such home folder.
    """
    if option:
        return expand_home(option)
    return expand_home(os.environ.get(VARIABLE) or DEFAULT_RUNS_DIR, VARIABLE)


def run_folders(runs_dir: Path) -> Iterator[RunFolder]:
    """Yield the directories in the folder of the runs whose names have no leading dot, in the order of their names."""
    if runs_dir.is_dir():
        for path in sorted(runs_dir.iterdir()):
            if not path.name.startswith(".") and path.is_dir():
                yield RunFolder(path.absolute())


def create_run(
    runs_dir: Path,
    name: str,
    files: Mapping[str, str],
    parent: str | Path | None = None,
    facts: Mapping[str, Any] | None = None,
) -> RunFolder:
    """Create a run directory `<UTC time>_<name>`, which appears together with its first files.

    Args:
        runs_dir: folder of the runs; created if missing.
        name: name of the run; runs of the same name and second get the suffixes -2, -3, ….
        files: text by file name inside the run; must include config.yaml.
        parent: the run that this one continues.
        facts: facts for run.json in addition to state, name, parent, times and version.

    Raises:
        RunError: the folder cannot be written to.
        MachineError: its path is not UTF-8.
    """
    if RunFolder(Path()).config.name not in files:
        raise ValueError("a run needs its resolved config, config.yaml is missing")
    require_utf8(runs_dir)
    now = utc_now()
    temporary = runs_dir / f".creating-{os.urandom(8).hex()}"
    try:
        temporary.mkdir(parents=True)
        for file, text in {**files, "run.json": facts_text(_first_facts(name, parent, now, facts or {}))}.items():
            (temporary / file).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(temporary / file, text)
        return RunFolder(_publish(temporary, runs_dir / f"{stamp(now)}_{name}"))
    except OSError as error:
        text = f"{printable(runs_dir)}: no run can be created here ({error.strerror}). Choose a folder with --runs-dir."
        raise RunError(Message("run-folder-not-writable", text, path=runs_dir, reason=error.strerror)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
    """Return the command line of this process, with the program's name instead of its path."""
    program = Path(sys.argv[0] or "python")
    name = f"python -m {program.parent.name}" if program.name == "__main__.py" else shlex.quote(program.name)
    return " ".join([name, *map(shlex.quote, sys.argv[1:])])


def _publish(temporary: Path, wanted: Path) -> Path:
    """Rename a filled folder to the first free name among wanted, wanted-2, wanted-3, … and return that path.

    Renaming onto a run fails, since no run is empty: two processes that want one name cannot both get it.
    """
    number, path = 1, wanted
    while True:
        try:
            temporary.rename(path)
        except OSError:
            if not os.path.lexists(path):
                raise
            number += 1
            path = wanted.with_name(f"{wanted.name}-{number}")
        else:
            sync_folder(path.parent)
            return path


def finish_run(run: RunFolder, facts: Mapping[str, Any] | None = None) -> None:
    """Record that a run is finished, with the facts known at its end."""
    _end(run, {"state": "finished", **(facts or {})})


def fail_run(run: RunFolder, reason: str) -> None:
    """Record that a run failed, and why."""
    _end(run, {"state": "failed", "reason": reason})


def stop_run(run: RunFolder) -> None:
    """Record that a run was stopped by a signal. It can be resumed."""
    _end(run, {"state": "stopped"})


def restart_run(run: RunFolder) -> None:
    """Record that a run was resumed."""
    write_facts(run.facts, {**run.read_facts(), "state": "running", "finished": None, "reason": None})


def _end(run: RunFolder, changes: Mapping[str, Any]) -> None:
    facts, now = run.read_facts(), utc_now()
    seconds = round((now - datetime.fromisoformat(facts["created"])).total_seconds(), 3)
    write_facts(run.facts, {**facts, "finished": time_text(now), "seconds": seconds, **changes})


def update_facts(run: RunFolder, facts: Mapping[str, Any]) -> None:
    """Add facts to run.json, replacing those of the same name."""
    write_facts(run.facts, {**run.read_facts(), **facts})
