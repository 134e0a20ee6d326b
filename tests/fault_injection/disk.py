"""Fill the disk, let it fail or make it read-only at any moment of training."""

from __future__ import annotations

import builtins
import errno
import io
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from cnncli.runs.checkpoints import Checkpoints
from tests.fault_injection import NotHereError
from tests.fault_injection.trainings import prepare

FAILURES = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT)
MOST_OPERATIONS = 600
"""Approximate number of writing calls of a training."""
LEAST_BYTES, MOST_BYTES = 20_000, 600_000
"""Sizes of the small disk: the smallest holds no run, the largest a complete one."""


def fails(work: Path, random: np.random.Generator) -> None:
    """Let all system calls that write fail, starting at a random one."""
    code, first = FAILURES[int(random.integers(len(FAILURES)))], int(random.integers(0, MOST_OPERATIONS))
    _check(work, random, lambda: refuse_writes(first, code))


def is_full(work: Path, random: np.random.Generator) -> None:
    """Train on a real disk that is too small. Mounting it requires privileges."""
    trainer, reference = prepare(work, random)
    size = int(random.integers(LEAST_BYTES, MOST_BYTES))
    if not may_mount(trainer.runs):
        raise NotHereError("it needs the right to mount a disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(trainer.runs)], check=True)
    try:
        child = trainer.start()
        code = child.end()
        if code:
            _check_output(code, child.printed(), trainer.runs)
            subprocess.run(["mount", "-o", "remount,size=100m", str(trainer.runs)], check=True)
        assert trainer.finish() == reference.result
    finally:
        subprocess.run(["umount", str(trainer.runs)], check=True)


def may_mount(folder: Path) -> bool:
    """Return whether this process may mount a disk."""
    folder.mkdir(parents=True, exist_ok=True)
    tried = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    return tried.returncode == 0 and subprocess.run(["umount", str(folder)]).returncode == 0


def refuse_writes(first: int, code: int) -> None:
    """Let all system calls of this process that write fail, starting with call number `first`."""
    left, lock = first, threading.Lock()

    def count(where: object) -> None:
        nonlocal left
        with lock:
            left -= 1
            failing = left < 0
        if failing:
            raise OSError(code, os.strerror(code), where if isinstance(where, str | bytes) else None)

    def failing(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            count(os.fspath(args[0]) if args and isinstance(args[0], str | Path) else None)
            return function(*args, **kwargs)

        return call

    for name in ("fsync", "mkdir", "rename", "replace"):
        setattr(os, name, failing(getattr(os, name)))
    opened = builtins.open

    def open_to_write(file: object, mode: str = "r", *args: object, **kwargs: object) -> object:
        if set(mode) & set("wax+"):
            count(os.fspath(file) if isinstance(file, str | Path) else None)
        return opened(file, mode, *args, **kwargs)  # type: ignore[call-overload]  # passes any mode on

    builtins.open = io.open = open_to_write  # type: ignore[assignment]  # narrower than all of its overloads


def _check(work: Path, random: np.random.Generator, before: Callable[[], object]) -> None:
    trainer, reference = prepare(work, random)
    child = replace(trainer, before=before).start()
    code = child.end()
    if code:
        _check_output(code, child.printed(), work)
    run = trainer.newest_run()
    if run is not None and run.state.is_dir() and any(path.name.isdecimal() for path in run.state.iterdir()):
        assert Checkpoints(run.state).newest() is not None
    assert trainer.finish() == reference.result


def _check_output(code: int, printed: str, folder: Path) -> None:
    assert code == 2, f"exit code {code}: {printed}"
    errors = [line for line in printed.splitlines() if line.startswith("error:")]
    assert errors, printed
    places = (str(folder), "runs/", "cache", tempfile.gettempdir())  # Keras saves and exports through the last
    assert any(place in line for line in errors for place in places), printed
    assert "Traceback" not in printed, printed
