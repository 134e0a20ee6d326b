"""A process or a whole machine that goes down at any operation of one save leaves the checkpoint before it, or the new.

The save runs in a forked child whose profiler counts the calls of the interpreter that reach the disk, and ends the
child before one of them. What Python had buffered is lost, as it is by a kill. For a machine that goes down, files that
were not forced to disk by then are cut short afterwards.
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
"""Checkpoints that are there already, so that a save has old ones to delete."""


def every_point(work: Path, random: np.random.Generator) -> None:
    """Each operation of one save in turn."""
    n = _operations_of_a_save(work / "counted")
    assert n > 10
    for point in range(n):
        folder = work / str(point)
        _prepare(folder)
        forced = _save_and_crash(folder, at=point)
        if random.random() < 0.5:
            _cut_short(folder, forced, random)
        _check(folder, point)


def _check(folder: Path, point: int) -> None:
    """The newest checkpoint is one of two, whole; and the next save works."""
    newest = Checkpoints(folder).newest()
    assert newest is not None, f"nothing is left after operation {point}"
    number = int(newest.document["number"])
    assert number in (PREPARED, PREPARED + 1), f"checkpoint {number} after operation {point}"
    assert all((newest.arrays[name] == array).all() for name, array in _checkpoint(number).arrays.items())
    Checkpoints(folder).save(_checkpoint(PREPARED + 2))
    after = Checkpoints(folder).newest()
    assert after is not None
    assert after.document["number"] == PREPARED + 2
    assert not list(folder.glob(".*")), "leftovers stay"


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

    def see(_: int) -> None:
        nonlocal count
        count += 1

    with_each_operation(lambda: Checkpoints(folder).save(_checkpoint(PREPARED + 1)), see)
    return count


def with_each_operation(work: Callable[[], object], see: Callable[[int], None]) -> None:
    """Do something, and call `see` before each call into the disk with its number; what it raises is raised there."""
    number = 0

    def profile(frame: FrameType, event: str, called: Any) -> None:
        nonlocal number
        if event == "c_call" and called.__name__ in OPERATIONS:
            number += 1
            see(number - 1)

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)


def _save_and_crash(folder: Path, at: int) -> frozenset[int]:
    """Save in a child that ends before its so-many-th operation; gives the inodes of what was forced to disk."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_a_crash(folder, at, writer)
    os.close(writer)
    with os.fdopen(reader) as lines:
        forced = frozenset(int(line) for line in lines)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == CRASHED, f"the child ended with {code}"
    return forced


def _become_a_crash(folder: Path, at: int, writer: int) -> None:
    force = os.fsync

    def noting(descriptor: int) -> None:
        force(descriptor)
        os.write(writer, f"{os.fstat(descriptor).st_ino}\n".encode())

    def crash(number: int) -> None:
        if number == at:
            os._exit(CRASHED)

    try:
        os.fsync = noting  # type: ignore[assignment]
        with_each_operation(lambda: Checkpoints(folder).save(_checkpoint(PREPARED + 1)), crash)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)  # it got through, or failed in another way


def _cut_short(folder: Path, forced: frozenset[int], random: np.random.Generator) -> None:
    """What a machine that goes down has not written: all of a file's end that was not forced to disk."""
    prepared = {f"{number:06}" for number in range(1, PREPARED + 1)}
    for path in folder.rglob("*"):
        is_new = path.is_file() and not prepared & set(path.relative_to(folder).parts)
        if is_new and path.stat().st_ino not in forced:
            os.truncate(path, int(random.integers(0, path.stat().st_size + 1)))
