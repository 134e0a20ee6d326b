"""One process at a time trains a run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cnncli.errors import RunError, printable
from cnncli.runs.layout import RunFolder
from cnncli.storage.locks import Lock

LOOKS, LOOK_S = 5, 0.05


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
        if not _had(lock):
            raise RunError(
                f"{printable(run.path)}: is being trained by process {_holder(run)}. Wait for it, or stop it."
            )
        with suppress(OSError):  # it is for people alone, and the disk may be full
            run.lock.write_text(f"{os.getpid()}\n")
        yield


def _had(lock: Lock) -> bool:
    """Whether it is ours, after a moment in which another one may be giving it up."""
    for look in range(LOOKS):
        if look:
            time.sleep(LOOK_S)
        if lock.try_alone() or not lock.is_possible:
            return True
    return False


def _holder(run: RunFolder) -> str:
    try:
        return run.lock.read_text().strip() or "of an unknown number"
    except OSError:
        return "of an unknown number"
