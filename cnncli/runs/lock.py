"""One process at a time trains a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cnncli.errors import RunError, printable
from cnncli.locks import Lock
from cnncli.runs.layout import RunFolder


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Hold a run's lock inside the block; the system frees it with the process, however that ends.

    On a file system without locks everybody gets it.

    Raises:
        RunError: another process holds it; the message has its number.
    """
    try:
        lock = Lock(run.lock)
    except OSError as error:
        raise RunError(f"{printable(run.lock)}: {error.strerror}; a run is trained where it can be written.") from error
    with lock:
        if not lock.try_alone() and not lock.try_share():
            raise RunError(
                f"{printable(run.path)}: is being trained by process {_holder(run)}. Wait for it, or stop it."
            )
        run.lock.write_text(f"{os.getpid()}\n")
        yield


def is_locked(run: RunFolder) -> bool:
    """Whether a process trains the run now."""
    if not run.lock.exists():
        return False
    try:
        with Lock(run.lock) as lock:
            return not lock.try_share()
    except OSError:
        return False


def _holder(run: RunFolder) -> str:
    try:
        return run.lock.read_text().strip() or "of an unknown number"
    except OSError:
        return "of an unknown number"
