"""`data check --fix-splits` killed at any moment: no image is lost or doubled, and the next call does the rest."""

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

from cnncli.dataset.build import scan_folder
from cnncli.recipes.fix_splits import fix_splits
from cnncli.terminal.console import Console
from tests.fault_injection.planted import CLASSES, write_clean

KILLS = 4
PER_CLASS = 10
LONGEST_S = 0.005
"""A call is killed within so many seconds from where it begins to move images: about as many as it needs."""


def once(work: Path, random: np.random.Generator) -> None:
    """A few calls that are killed, and one that is not."""
    folder = work / "images"
    before = _planted(folder, random)
    for _ in range(KILLS):
        _kill_while_moving(folder, random.uniform(0, LONGEST_S))
        there = _contents(folder)
        if set(there) != set(before) or any(there[digest] < n for digest, n in before.items()):
            raise AssertionError("images were lost")
    _finish(folder, before)


def two_at_once(work: Path, random: np.random.Generator) -> None:
    """Two calls at the same time, and then one more: where they meet, each leaves to the other what that has begun."""
    folder = work / "images"
    before = _planted(folder, random)
    begun, begin = os.pipe()
    children = [_start(folder, begin) for _ in range(2)]
    os.close(begin)
    os.close(begun)
    for child in children:
        os.waitpid(child, 0)
    _finish(folder, before)


def _planted(folder: Path, random: np.random.Generator) -> Counter[str]:
    """Write images, some of them in two splits; gives how often each is there."""
    write_clean(folder, random)
    for label in CLASSES:
        for number in range(PER_CLASS):
            split = ("validation", "test")[number % 2]
            shutil.copyfile(folder / "train" / label / f"{number}.jpg", folder / split / label / f"copy {number}.jpg")
    return _contents(folder)


def _finish(folder: Path, before: Counter[str]) -> None:
    """Do what is left; everything has to be there, in its place."""
    fixed = fix_splits(folder, Console(quiet=True), lambda _: True)
    facts = scan_folder(folder)
    if _contents(folder) != before:
        raise AssertionError("images were doubled or lost")
    if fixed.problems or fixed.left or facts.problems:
        raise AssertionError(f"not all was done: {fixed.problems}, {fixed.left}, {facts.problems}")


def _contents(folder: Path) -> Counter[str]:
    """How often each image is there."""
    return Counter(sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.jpg"))


def _kill_while_moving(folder: Path, seconds: float) -> None:
    """Call it in a process of its own, and kill that so long after it has begun to move images."""
    begun, begin = os.pipe()
    child = _start(folder, begin)
    os.close(begin)
    os.read(begun, 1)  # also returns where the child has ended without a word
    os.close(begun)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise AssertionError("a call failed by itself")


def _start(folder: Path, begin: int) -> int:
    """Move all images in another process, which writes to `begin` before it does; gives its number."""
    if child := os.fork():
        return child
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        fix_splits(folder, Console(quiet=True), lambda _: _tell(begin))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _tell(begin: int) -> bool:
    with suppress(BrokenPipeError):
        os.write(begin, b".")
    return True
