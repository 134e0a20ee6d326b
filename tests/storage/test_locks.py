"""Locks say what is in use, and by how many."""

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

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")

HOLDER = (
    "import sys, time, pathlib; from cnncli.storage import locks; "
    "lock = getattr(locks, sys.argv[1])(pathlib.Path(sys.argv[2])); print('held', flush=True); time.sleep(60)"
)


def _holder(kind: str, path: Path) -> subprocess.Popen[str]:
    """Another process that holds a lock by now."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, kind, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_what_another_process_uses_cannot_be_held_alone(tmp_path: Path) -> None:
    """Not until that process has ended, and be it killed."""
    process = _holder("shared", tmp_path / "lock")
    try:
        assert try_exclusive(tmp_path / "lock") is None
    finally:
        _kill(process)
    assert try_exclusive(tmp_path / "lock") is not None


def test_several_share_a_lock(tmp_path: Path) -> None:
    """The last one to let go makes it free; two in one process count as two."""
    first, second = shared(tmp_path / "lock"), shared(tmp_path / "lock")

    first.release()
    assert try_exclusive(tmp_path / "lock") is None
    second.release()
    second.release()
    assert try_exclusive(tmp_path / "lock") is not None


def test_a_lock_ends_with_its_last_reference(tmp_path: Path) -> None:
    """Whoever forgets to release it blocks nobody."""
    lock = shared(tmp_path / "lock")
    assert try_exclusive(tmp_path / "lock") is None
    del lock

    assert try_exclusive(tmp_path / "lock") is not None


def test_a_shared_lock_is_had_when_the_deleter_has_done(tmp_path: Path) -> None:
    """It waits, and is on the file that is there then, not on the one that was deleted."""
    folder = tmp_path / "folder"
    folder.mkdir()
    deleter = exclusive(folder / "lock")
    had: list[Lock] = []
    thread = threading.Thread(target=lambda: had.append(shared(folder / "lock")))
    thread.start()
    thread.join(0.1)
    assert not had
    shutil.rmtree(folder)
    folder.mkdir()
    deleter.release()
    thread.join(10)

    assert had[0].is_current
    assert try_exclusive(folder / "lock") is None


def test_a_shared_lock_becomes_one_alone_only_where_nobody_shares_it(tmp_path: Path) -> None:
    """And can be shared again after it failed."""
    mine, other = shared(tmp_path / "lock"), shared(tmp_path / "lock")

    assert not mine.try_alone()
    mine.share()
    other.release()
    assert mine.try_alone()


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    """A lock makes its file, and nothing around it."""
    with pytest.raises(FileNotFoundError):
        shared(tmp_path / "nowhere" / "lock")


def test_what_may_only_be_read_can_be_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store on a read-only disk is shared like any other."""
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
    """Some network file systems know none: what might be in use there is left alone."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)

    assert shared(tmp_path / "lock").is_current
    assert try_exclusive(tmp_path / "lock") is None
