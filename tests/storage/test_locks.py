"""Locks show which files are in use."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cnncli.storage.locks import Lock, exclusive, shared, try_exclusive
from tests.support.no_locks import without_locks

HOLDER = (
    "import sys, time, pathlib; from cnncli.storage import locks; "
    "lock = getattr(locks, sys.argv[1])(pathlib.Path(sys.argv[2])); print('held', flush=True); time.sleep(60)"
)


def _holder(kind: str, path: Path) -> subprocess.Popen[str]:
    """Start a process that holds a lock, and return it."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, kind, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_a_lock_of_another_process_ends_with_it(kind: str, tmp_path: Path) -> None:
    """No other process can acquire an exclusive lock until its holder ends, even if the holder is killed."""
    process = _holder(kind, tmp_path / "lock")
    try:
        assert try_exclusive(tmp_path / "lock") is None
        assert Lock(tmp_path / "lock").acquire(exclusive=False, wait=False) == (kind == "shared")
    finally:
        _kill(process)
    assert try_exclusive(tmp_path / "lock") is not None


def test_several_share_a_lock(tmp_path: Path) -> None:
    """A shared lock is free after all of its holders have released it; two holders in one process count as two."""
    first, second = shared(tmp_path / "lock"), shared(tmp_path / "lock")

    first.release()
    assert try_exclusive(tmp_path / "lock") is None
    second.release()
    second.release()
    assert try_exclusive(tmp_path / "lock") is not None


def test_a_lock_ends_with_its_last_reference(tmp_path: Path) -> None:
    """A lock that is not released explicitly is released with its last reference."""
    lock = shared(tmp_path / "lock")
    assert try_exclusive(tmp_path / "lock") is None
    del lock

    assert try_exclusive(tmp_path / "lock") is not None


def test_a_shared_lock_waits_for_the_deleting_process(tmp_path: Path) -> None:
    """The shared lock is then on the new file, not on the deleted one."""
    folder = tmp_path / "folder"
    folder.mkdir()
    deleter = exclusive(folder / "lock")
    acquired: list[Lock] = []
    thread = threading.Thread(target=lambda: acquired.append(shared(folder / "lock")))
    thread.start()
    thread.join(0.1)
    assert not acquired
    shutil.rmtree(folder)
    folder.mkdir()
    deleter.release()
    thread.join(10)

    assert acquired[0].is_current
    assert try_exclusive(folder / "lock") is None


def test_a_shared_lock_becomes_exclusive_only_if_nobody_shares_it(tmp_path: Path) -> None:
    """If this fails, the lock stays shared."""
    mine, other = shared(tmp_path / "lock"), shared(tmp_path / "lock")

    assert not mine.try_alone()
    mine.acquire(exclusive=False, wait=True)
    other.release()
    assert mine.try_alone()


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """A lock creates its file but not its folder, and nothing without `create`."""
    with pytest.raises(FileNotFoundError):
        shared(tmp_path / "nowhere" / "lock")
    with pytest.raises(FileNotFoundError):
        Lock(tmp_path / "lock", create=False)
    assert not list(tmp_path.iterdir())


def test_a_file_that_may_only_be_read_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries on a read-only disk can be locked for reading."""
    (tmp_path / "lock").touch()
    plain = os.open

    def read_only(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return plain(path, flags, *mode)

    monkeypatch.setattr(os, "open", read_only)
    held = shared(tmp_path / "lock")

    assert held.is_current
    assert try_exclusive(tmp_path / "lock") is None


def test_without_locks_nothing_is_held_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without locks, nothing is locked exclusively, so that no entry in use is deleted."""
    without_locks(monkeypatch)

    assert shared(tmp_path / "lock").is_current
    assert try_exclusive(tmp_path / "lock") is None
