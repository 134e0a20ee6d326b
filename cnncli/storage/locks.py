"""Advisory locks on files: who uses something holds its lock with others, who deletes it holds the lock alone.

The locks are POSIX `flock`s: they end with the process, however it ends, so what a killed one held is free. Windows
has none: there every lock is had at once and protects nothing but what the system itself does not delete, files that
are open. On a file system without locks a shared lock is had and a lock alone never is, so that nothing is deleted.
"""

from __future__ import annotations

import errno
import os
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType


class Lock:
    """A lock that is held until it is released, its last reference is gone, or the process ends."""

    def __init__(self, path: Path) -> None:
        """Open the lock's file, made where it is missing; nothing is held yet.

        Raises:
            OSError: the folder is not there, or the file cannot be opened.
        """
        self.path = path
        self._descriptor = _opened(path)
        self.is_possible = True
        """False once the file system has shown that it has no locks."""
        self.release = weakref.finalize(self, os.close, self._descriptor)
        """Hold it no longer; a second call does nothing."""

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.release()

    @property
    def is_current(self) -> bool:
        """Whether its file still lies where it did: a lock on a deleted file keeps nobody out."""
        try:
            there = self.path.stat()
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._descriptor))

    def share(self) -> None:
        """Hold it with others, as soon as nobody holds it alone."""
        _flock(self._descriptor, alone=False, wait=True)

    def hold_alone(self) -> None:
        """Hold it alone, as soon as nobody else holds it."""
        _flock(self._descriptor, alone=True, wait=True)

    def try_share(self) -> bool:
        """Hold it with others if nobody holds it alone now; always so where the file system has no locks."""
        return self._try(alone=False) or not self.is_possible

    def try_alone(self) -> bool:
        """Hold it alone if nobody else holds it now. If not, it is not held at all: a shared one is given up first."""
        return self._try(alone=True)

    def _try(self, alone: bool) -> bool:
        had = _flock(self._descriptor, alone, wait=False)
        self.is_possible = had is not None
        return bool(had)


def shared(path: Path) -> Lock:
    """A lock held with others, as soon as nobody holds it alone.

    Raises:
        OSError: the folder is not there, or the file cannot be opened.
    """
    return _held(path, Lock.share)


def exclusive(path: Path) -> Lock:
    """A lock held alone, as soon as nobody else holds it; errors as of `shared`."""
    return _held(path, Lock.hold_alone)


def try_exclusive(path: Path) -> Lock | None:
    """A lock held alone, or None where somebody else holds it now; errors as of `shared`."""
    lock = Lock(path)
    if lock.try_alone() and lock.is_current:
        return lock
    lock.release()
    return None


def _held(path: Path, hold: Callable[[Lock], None]) -> Lock:
    while True:
        lock = Lock(path)
        hold(lock)
        if lock.is_current:
            return lock
        lock.release()  # whoever held it alone has deleted the file; there may be another one now


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return os.open(path, os.O_RDONLY)  # what may only be read can still be in use


if sys.platform == "win32":

    def _flock(descriptor: int, alone: bool, wait: bool) -> bool | None:  # noqa: ARG001
        return True

else:
    import fcntl

    _WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)

    def _flock(descriptor: int, alone: bool, wait: bool) -> bool | None:
        """Whether the lock is had now; None where the file system has no locks."""
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
            return None
        return True
