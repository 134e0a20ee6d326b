"""The run directory: its files, its creation, its state, and its lock.

A run directory is created by a single rename and already contains its resolved config. All other entries in the folder
of the runs have a leading dot. run.json contains the state and the key facts:

    {"format": 1, "state": "running" | "stopped" | "finished" | "failed", "name", "parent", "created", "finished",
     "seconds", "command", "cnncli", "engine", "precision", "stages", "concluded": false | true, …}

A finished run that is not concluded was killed while it was verified and its figures were drawn.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from typing import Any, Literal

from cnncli.errors import Message, RunError, printable
from cnncli.runs.documents import damaged, read_document, stamp, time_text, utc_now
from cnncli.runtime.machine import expand_home, require_utf8
from cnncli.storage.atomic import sync_folder, write_atomically
from cnncli.storage.locks import Lock, is_locked
from cnncli.version import __version__

VARIABLE = "CNNCLI_RUNS"

FORMAT = 1
STATES = ("running", "stopped", "finished", "failed")
OPTIONAL_TEXTS = ("name", "parent", "reason", "mode", "backbone")
EndState = Literal["finished", "failed", "stopped"]
FOLDERS = ("state", "engine", "figures", "nan", "tensorboard", "review", "exports")
"""Names of the folders in a run directory; all others are files."""
ATTEMPTS, ATTEMPT_EVERY_S = 5, 0.05
MAX_LISTED = 8


class RunFile:
    """A file or folder of a run, with a sentence for the documentation; as an attribute of a run, its path."""

    def __init__(self, name: str, contents: str) -> None:
        self.name, self.contents = name, contents

    def __get__(self, run: RunFolder, _: type[RunFolder]) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """Directory of a run."""

    path: Path

    config = RunFile("config.yaml", "The resolved config: every setting, absolute paths.")
    initial_config = RunFile("state/config.yaml", "A second copy of the resolved config, to detect edits.")
    manifest = RunFile("manifest.csv", "The table of images: path, label, split, digest, size.")
    skipped = RunFile("skipped.csv", "The unreadable images that were left out, with reasons; only if there are any.")
    near_duplicates = RunFile("near_duplicates.csv", "Similar images in different splits; only if there are any.")
    classes = RunFile("classes.json", "The class names, in the order of the classifier's outputs.")
    facts = RunFile("run.json", "State, name, parent, times, engine, precision.")
    environment = RunFile("environment.json", "Versions, processor, git commit.")
    log = RunFile("log.txt", "All messages, with their time in UTC.")
    history = RunFile("history.csv", "One row per epoch.")
    stages = RunFile("stages.json", "A report of each stage, with hashes of its frozen weights.")
    metrics = RunFile("metrics.json", "The metrics of each split at the end of the training.")
    crossval = RunFile("crossval.json", "Cross-validation of the head; only with data.folds.")
    predictions = RunFile("predictions.csv", "The prediction of every evaluated image.")
    outputs = RunFile("outputs.npz", "The logits of every evaluated split, in the order of the manifest.")
    report = RunFile("report.html", "The report: results, mistakes, calibration, images, config, as one page.")
    model_card = RunFile("README.md", "The model card, with the metadata that the Hugging Face Hub reads.")
    figures = RunFile("figures", "Figures of the training and of evaluations, as images.")
    curves = RunFile("figures/curves.png", "Loss and accuracy over the epochs, as an image.")
    inspection = RunFile("inspect.csv", "Statistics of each layer and epoch; only with training.inspect.")
    inspection_figure = RunFile("figures/inspect.png", "The same as an image; only with training.inspect.")
    nan = RunFile("nan", "The step in which the training became NaN or Inf; only after `cnncli replay`.")
    tensorboard = RunFile("tensorboard", "TensorBoard's logs.")
    model = RunFile("model.keras", "The classifier: raw RGB in, probabilities out.")
    engine = RunFile("engine", "The classifier in the form that its engine runs fastest.")
    state = RunFile("state", "The checkpoints from which training resumes.")
    lock = RunFile("lock", "Held by the process that trains the run; holds its process ID.")
    review = RunFile("review", "The review of its labels by cnncli data review: tables, a sheet and your corrections.")
    exports = RunFile("exports", "The classifier in other formats, a folder each, by cnncli export.")
    export_table = RunFile("exports.csv", "One row per export: its parity with the run, its size and its speed.")
    export_lock = RunFile("exports.lock", "Held while a row is added to exports.csv.")
    evaluations = RunFile("evaluations.jsonl", "One JSON line per evaluation after the training.")

    def __fspath__(self) -> str:
        return str(self.path)

    def read_facts(self) -> dict[str, Any]:
        """Read run.json. Raises RunError if it is missing, damaged, or from a newer version of cnncli."""
        if not self.facts.exists():
            raise not_a_run(self.path)
        facts = read_document(self.facts, FORMAT)
        if problem := _problem(facts):
            raise damaged(self.facts, problem)
        return facts


def not_a_run(folder: Path) -> RunError:
    """Return the error about a folder that is not a run directory."""
    text = f"{printable(folder)}: not a run directory (no run.json)"
    return RunError(Message("run-not-a-run", text, path=folder))


def _problem(facts: Mapping[str, Any]) -> str | None:
    """Return the problem with the content of a run.json, or None."""
    if facts.get("state") not in STATES:
        return f"its state is not one of {', '.join(STATES)}"
    if wrong := [name for name in OPTIONAL_TEXTS if not isinstance(facts.get(name), str | None)]:
        return f"{', '.join(wrong)}: not a string"
    try:
        if datetime.fromisoformat(facts["created"]).tzinfo is None:
            return "its time of creation has no time zone"
        _facts_text(facts)  # it is written again when the run is resumed
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _facts_text(facts: Mapping[str, Any]) -> str:
    """Return the text of run.json."""
    return json.dumps({"format": FORMAT, **facts}, indent=2, allow_nan=False) + "\n"


def run_files() -> list[RunFile]:
    """Return the files that a run directory can contain."""
    return [file for file in vars(RunFolder).values() if isinstance(file, RunFile)]


def runs_dir_from(option: str | Path | None) -> Path:
    """Return the absolute path of the folder of the runs: the option, else `CNNCLI_RUNS`, else `./runs`."""
    return expand_home(option) if option else expand_home(os.environ.get(VARIABLE) or "runs", VARIABLE)


def run_folders(runs_dir: Path) -> Iterator[RunFolder]:
    """Yield the directories in the folder of the runs without a leading dot, sorted by name."""
    if runs_dir.is_dir():
        for path in sorted(runs_dir.iterdir()):
            if not path.name.startswith(".") and path.is_dir():
                yield RunFolder(path.absolute())


def create_run(
    runs_dir: Path,
    name: str,
    files: Mapping[str, str | Iterable[str]],
    parent: str | Path | None = None,
    facts: Mapping[str, Any] | None = None,
) -> RunFolder:
    """Create a run directory `<UTC time>_<name>` together with its first files.

    Runs with the same name and second get the suffixes -2, -3, …. `files` are texts, or their parts, by name inside the
    run, `parent` is the run that this one continues, and `facts` are added to run.json.

    Raises:
        RunError: The folder cannot be written to.
        MachineError: Its path is not UTF-8.
    """
    require_utf8(runs_dir)
    now = utc_now()
    first_facts = {
        "state": "running",
        "name": name,
        "parent": None if parent is None else str(parent),
        "created": time_text(now),
        "finished": None,
        "seconds": None,
        "command": _command(),
        "cnncli": __version__,
        **(facts or {}),
    }
    temporary = runs_dir / f".creating-{os.urandom(8).hex()}"
    try:
        for file, text in {**files, "run.json": _facts_text(first_facts)}.items():
            (temporary / file).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(temporary / file, text)
        return RunFolder(_publish(temporary, runs_dir / f"{stamp(now)}_{name}"))
    except OSError as error:
        text = f"{printable(runs_dir)}: no run can be created here ({error.strerror}). Choose a folder with --runs-dir."
        raise RunError(Message("run-folder-not-writable", text, path=runs_dir, reason=error.strerror)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _command() -> str:
    """Return the command line of this process, with the program's name instead of its path."""
    program = Path(sys.argv[0] or "python")
    is_module = program.name == "__main__.py"
    return shlex.join([*(["python", "-m", program.parent.name] if is_module else [program.name]), *sys.argv[1:]])


def _publish(temporary: Path, first_choice: Path) -> Path:
    """Rename a filled folder to the first free name among NAME, NAME-2, NAME-3, … and return that path.

    Renaming to an existing run fails, since no run is empty, so two processes cannot both get the same name.
    """
    for number in count(1):
        path = first_choice if number == 1 else first_choice.with_name(f"{first_choice.name}-{number}")
        try:
            temporary.rename(path)
            break
        except OSError:
            if not os.path.lexists(path):
                raise
    sync_folder(path.parent)
    return path


def update_facts(run: RunFolder, facts: Mapping[str, Any]) -> None:
    """Add facts to run.json, replacing those with the same name."""
    write_atomically(run.facts, _facts_text({**run.read_facts(), **facts}))


def end_run(run: RunFolder, state: EndState, facts: Mapping[str, Any] | None = None) -> None:
    """Record that a run has ended, with its state and final facts."""
    now = utc_now()
    seconds = round((now - datetime.fromisoformat(run.read_facts()["created"])).total_seconds(), 3)
    update_facts(run, {"finished": time_text(now), "seconds": seconds, "state": state, **(facts or {})})


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Hold a run's lock inside the block. The operating system releases it when the process ends, even after a crash.

    On file systems without locks, every process acquires it.

    Raises:
        RunError: Another process holds it, or the run's directory cannot be written to.
    """
    try:
        lock = Lock(run.lock)
    except OSError as error:
        text = f"{printable(run.lock)}: {error.strerror}. Training needs write access to the run directory."
        raise RunError(Message("run-folder-not-writable", text, path=run.path, reason=error.strerror)) from error
    with lock:
        for attempt in range(ATTEMPTS):  # another process may be releasing it
            if attempt:
                time.sleep(ATTEMPT_EVERY_S)
            if lock.try_alone() or not lock.is_possible:
                break
        else:
            raise in_training(run)
        with suppress(OSError):  # the process ID is only for people, and the disk may be full
            run.lock.write_text(f"{os.getpid()}\n")
        yield


def in_training(run: RunFolder) -> RunError:
    """Return the error about a run that another process trains."""
    holder = "(unknown)"
    with suppress(OSError):
        holder = run.lock.read_text().strip() or holder
    text = f"{printable(run.path)}: is being trained by process {holder}. Wait for that process, or stop it."
    return RunError(Message("run-locked", text, path=run.path, received=holder))


def state_of(run: RunFolder, facts: Mapping[str, Any]) -> str:
    """Return the state in run.json, or `interrupted` if it is `running` but no process trains the run."""
    return "interrupted" if facts["state"] == "running" and not is_locked(run.lock) else str(facts["state"])


def require_own_files(run: RunFolder) -> None:
    """Check that all files that cnncli reads or writes in a run belong to it, since a link could redirect a write.

    Raises:
        RunError: A link, a pipe or a device is in place of one of them.
    """
    foreign = [path.relative_to(run.path).as_posix() for path in islice(_foreign(run), MAX_LISTED)]
    if foreign:
        listed = ", ".join(map(printable, foreign))
        text = f"{printable(run.path)}: {listed}: a link, a pipe or a device, expected files of the run's own."
        remedy = "If you trust its source, copy it with what the links lead to (cp -rL)."
        raise RunError(Message("run-foreign-files", f"{text} {remedy}", path=run.path, received=foreign))


def _foreign(run: RunFolder) -> Iterator[Path]:
    """Yield what cnncli would not create: links, pipes, devices, and files and folders in each other's place."""
    for path in (run.path / name for name in sorted({Path(file.name).parts[0] for file in run_files()})):
        is_own = path.is_dir() if path.name in FOLDERS else path.is_file()
        if os.path.lexists(path) and (path.is_symlink() or not is_own):
            yield path
        else:  # does not follow links
            for below in path.rglob("*"):
                if below.is_symlink() or not (below.is_file() or below.is_dir()):
                    yield below
