"""Simulate a crash at each disk operation of a save; the previous or the new checkpoint must be valid afterwards.

The save runs in a forked child. A profile function counts the calls that reach the disk and ends the child before one
of them; data in Python's buffers is lost, as after a kill. To simulate a crash of the machine, files without an fsync
are truncated afterwards.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from cnncli.runs.checkpoints import Checkpoint, Checkpoints

OPERATIONS = frozenset({"open", "write", "fsync", "close", "mkdir", "rename", "replace", "unlink", "rmdir", "flush"})
CRASHED = 99
PREPARED = 4
"""Number of existing checkpoints, so that a save has old ones to delete."""


def every_point(work: Path, random: np.random.Generator) -> None:
    """Crash a save at each of its disk operations, one after the other."""
    n = _operations_of_a_save(work / "counted")
    assert n > 10
    for point in range(n):
        folder = work / str(point)
        _prepare(folder)
        synced = _save_and_crash(folder, at=point)
        if random.random() < 0.5:
            _truncate_unsynced(folder, synced, random)
        _check(folder, point)


def _check(folder: Path, point: int) -> None:
    """Check that the previous or the new checkpoint is valid, and that the next save works."""
    newest = Checkpoints(folder).newest()
    assert newest is not None, f"no checkpoint after operation {point}"
    number = int(newest.document["number"])
    assert number in (PREPARED, PREPARED + 1), f"checkpoint {number} after operation {point}"
    assert all((newest.arrays[name] == array).all() for name, array in _checkpoint(number).arrays.items())
    Checkpoints(folder).save(_checkpoint(PREPARED + 2))
    after = Checkpoints(folder).newest()
    assert after is not None
    assert after.document["number"] == PREPARED + 2
    assert not list(folder.glob(".*")), "temporary files were not deleted"


def _checkpoint(number: int) -> Checkpoint:
    random = np.random.default_rng(number)
    arrays = {f"weight/{k}": random.random((50, 40)).astype(np.float32) for k in range(3)}
    return Checkpoint({"number": number}, arrays, is_between_epochs=number % 2 == 0)


def _prepare(folder: Path) -> None:
    for number in range(1, PREPARED + 1):
        Checkpoints(folder).save(_checkpoint(number))


def _operations_of_a_save(folder: Path) -> int:
    _prepare(folder)
    count = 0

    def observe(_: int) -> None:
        nonlocal count
        count += 1

    with_each_operation(lambda: Checkpoints(folder).save(_checkpoint(PREPARED + 1)), observe)
    return count


def with_each_operation(work: Callable[[], object], observe: Callable[[int], None]) -> None:
    """Call `work`, and before each disk operation call `observe`, which may raise, with a running number."""
    number = 0

    def profile(frame: FrameType, event: str, called: Any) -> None:
        nonlocal number
        if event == "c_call" and called.__name__ in OPERATIONS:
            number += 1
            observe(number - 1)

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)


def _save_and_crash(folder: Path, at: int) -> frozenset[int]:
    """Save in a child that ends before operation `at`, and return the inodes of the files that were synced."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _save_in_child(folder, at, writer)
    os.close(writer)
    with os.fdopen(reader) as lines:
        synced = frozenset(int(line) for line in lines)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == CRASHED, f"the child exited with {code}"
    return synced


def _save_in_child(folder: Path, at: int, writer: int) -> None:
    fsync = os.fsync

    def report_fsync(descriptor: int) -> None:
        fsync(descriptor)
        os.write(writer, f"{os.fstat(descriptor).st_ino}\n".encode())

    def crash(number: int) -> None:
        if number == at:
            os._exit(CRASHED)

    try:
        os.fsync = report_fsync  # type: ignore[assignment]  # a function in place of a builtin
        with_each_operation(lambda: Checkpoints(folder).save(_checkpoint(PREPARED + 1)), crash)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)  # the save finished, or failed in another way


def _truncate_unsynced(folder: Path, synced: frozenset[int], random: np.random.Generator) -> None:
    """Truncate new files that were not synced, as a crash of the machine can."""
    prepared = {f"{number:06}" for number in range(1, PREPARED + 1)}
    for path in folder.rglob("*"):
        is_new = path.is_file() and not prepared & set(path.relative_to(folder).parts)
        if is_new and path.stat().st_ino not in synced:
            os.truncate(path, int(random.integers(0, path.stat().st_size + 1)))
