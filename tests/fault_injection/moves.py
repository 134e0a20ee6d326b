"""Kill `data check --fix-splits` at any moment: no image is lost or duplicated, and the next call completes it."""

from __future__ import annotations

import os
import shutil
import signal
import time
import traceback
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np

from cnncli.config.data_settings import DataConfig
from cnncli.dataset.build import report_on_data
from cnncli.dataset.fix_splits import carry_out, plan_moves
from cnncli.dataset.issues import messages_of
from tests.fault_injection.planted_faults import CLASSES, write_clean

KILLS = 4
PER_CLASS = 10
LONGEST_S = 0.005
"""A call is killed within this time after it begins to move images, about as long as it needs."""


def once(work: Path, random: np.random.Generator) -> None:
    """Kill some calls, and let the last one complete."""
    folder = work / "images"
    before = _write_images(folder, random)
    for _ in range(KILLS):
        _kill_while_moving(folder, random.uniform(0, LONGEST_S))
        there = _contents(folder)
        if set(there) != set(before) or any(there[digest] < n for digest, n in before.items()):
            raise AssertionError("images were lost")
    _finish(folder, before)


def two_at_once(work: Path, random: np.random.Generator) -> None:
    """Fix the splits in two concurrent processes, then once more; neither disturbs a move the other has started."""
    folder = work / "images"
    before = _write_images(folder, random)
    begun, begin = os.pipe()
    children = [_start(folder, begin) for _ in range(2)]
    os.close(begin)
    os.close(begun)
    for child in children:
        os.waitpid(child, 0)
    _finish(folder, before)


def _write_images(folder: Path, random: np.random.Generator) -> Counter[str]:
    """Write images, some of which are in two splits, and return the number of copies of each."""
    write_clean(folder, random)
    for label in CLASSES:
        for number in range(PER_CLASS):
            split = ("validation", "test")[number % 2]
            shutil.copyfile(folder / "train" / label / f"{number}.jpg", folder / split / label / f"copy {number}.jpg")
    return _contents(folder)


def _finish(folder: Path, before: Counter[str]) -> None:
    """Complete the repair, and check that every image is in its place."""
    planned, left = plan_moves(folder)
    problems = [*carry_out(planned), *left, *messages_of(report_on_data(DataConfig(path=folder))[1], "error")]
    if _contents(folder) != before:
        raise AssertionError("images were duplicated or lost")
    if problems:
        raise AssertionError(f"not everything was fixed: {problems}")


def _contents(folder: Path) -> Counter[str]:
    """Return the number of copies of each image by digest."""
    return Counter(sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.jpg"))


def _kill_while_moving(folder: Path, seconds: float) -> None:
    """Make a call in a new process, and kill it `seconds` after it has started to move images."""
    begun, begin = os.pipe()
    child = _start(folder, begin)
    os.close(begin)
    os.read(begun, 1)  # also returns if the child has ended without writing
    os.close(begun)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise AssertionError("a call failed on its own")


def _start(folder: Path, begin: int) -> int:
    """Start a process that writes to `begin` and then moves all images, and return its id."""
    if child := os.fork():
        return child
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        moves, _ = plan_moves(folder)
        with suppress(BrokenPipeError):
            os.write(begin, b".")
        carry_out(moves)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
