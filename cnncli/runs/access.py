"""Checks before a run is used: its files are its own, and no other process trains it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from cnncli.errors import Message, RunError, printable
from cnncli.runs.folder import RunFolder, run_files
from cnncli.storage.locks import Lock, is_locked

ATTEMPTS, ATTEMPT_EVERY_S = 5, 0.05
MAX_LISTED = 8
FOLDERS = ("state", "engine", "figures", "tensorboard")
"""Names in a run directory that are folders; the others are files."""


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Hold a run's lock inside the block. The system frees it with the process, however that ends.

    On a file system without locks, every process gets it.

    Raises:
        RunError: another process holds it, or the run's directory cannot be written to.
    """
    try:
        lock = Lock(run.lock)
    except OSError as error:
        text = f"{printable(run.lock)}: {error.strerror}. A run can only be trained in a folder that can be written to."
        raise RunError(Message("run-folder-not-writable", text, path=run.path, reason=error.strerror)) from error
    with lock:
        for attempt in range(ATTEMPTS):  # another process may be releasing it
            if attempt:
                time.sleep(ATTEMPT_EVERY_S)
            if lock.try_alone() or not lock.is_possible:
                break
        else:
            try:
                holder = run.lock.read_text().strip() or "(unknown)"
            except OSError:
                holder = "(unknown)"
            text = f"{printable(run.path)}: is being trained by process {holder}. Wait for it, or stop it."
            raise RunError(Message("run-locked", text, path=run.path, received=holder))
        with suppress(OSError):  # the process ID is only for people, and the disk may be full
            run.lock.write_text(f"{os.getpid()}\n")
        yield


def state_of(run: RunFolder, facts: Mapping[str, Any]) -> str:
    """Return the state of a run: that of run.json, or `interrupted` if it says `running` and no process trains it."""
    return "interrupted" if facts["state"] == "running" and not is_locked(run.lock) else str(facts["state"])


def require_own_files(run: RunFolder) -> None:
    """Check that everything cnncli reads or writes in a run is its own: a link could lead a writer to other files.

    Raises:
        RunError: a link, a pipe or a device is in the place of one of them.
    """
    foreign = [path.relative_to(run.path).as_posix() for path in islice(_foreign(run), MAX_LISTED)]
    if foreign:
        listed = ", ".join(map(printable, foreign))
        text = f"{printable(run.path)}: {listed}: a link, a pipe or a device, expected files of the run's own."
        remedy = "If you trust its source, copy it with what the links lead to (cp -rL)."
        raise RunError(Message("run-foreign-files", f"{text} {remedy}", path=run.path, received=foreign))


def _foreign(run: RunFolder) -> Iterator[Path]:
    """Yield links, pipes and devices, files in place of folders, and folders in place of files."""
    for path in (run.path / name for name in sorted({Path(file.name).parts[0] for file in run_files()})):
        is_own = path.is_dir() if path.name in FOLDERS else path.is_file()
        if os.path.lexists(path) and (path.is_symlink() or not is_own):
            yield path
        else:  # does not follow links
            yield from (below for below in path.rglob("*") if not _is_plain(below))


def _is_plain(path: Path) -> bool:
    return not path.is_symlink() and (path.is_file() or path.is_dir())
