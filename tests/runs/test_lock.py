"""One process at a time trains a run."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cnncli.errors import RunError
from cnncli.runs.folder import RunFolder
from cnncli.runs.lock import LOOKS, locked
from cnncli.storage import locks
from cnncli.storage.locks import Lock


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A folder, which is all that a lock needs."""
    return RunFolder(tmp_path)


def test_who_holds_it_is_named(run: RunFolder) -> None:
    """To whoever comes second."""
    with locked(run), pytest.raises(RunError, match=f"is being trained by process {os.getpid()}"), locked(run):
        pytest.fail("two train")


def test_it_is_free_again(run: RunFolder) -> None:
    """After the block."""
    for _ in range(2):
        with locked(run):
            pass


def test_one_let_go_at_the_last_moment_is_held_alone(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes third is refused."""
    holder, pauses = Lock(run.lock), []
    assert holder.try_alone()

    def pause(_: float) -> None:
        pauses.append(1)
        if len(pauses) == LOOKS - 1:
            holder.release()

    monkeypatch.setattr("cnncli.runs.lock.time.sleep", pause)
    with locked(run), pytest.raises(RunError, match="is being trained"), locked(run):
        pytest.fail("two train")


def test_without_locks_everybody_gets_it(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has none is no reason not to train."""

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    with locked(run), locked(run):
        pass


def test_a_full_disk_keeps_no_number(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for people; what needs the disk will say so, with its name."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with locked(run), pytest.raises(RunError, match="of an unknown number"), locked(run):
        pytest.fail("two train")
