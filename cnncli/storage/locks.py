"""Advisory locks on files: users of something share its lock, a process that deletes it holds the lock alone.

The system frees a lock when its process ends, however it ends. portalocker locks a file on every platform (`flock` on
Linux and macOS, `LockFileEx` on Windows). On a file system without locks, a shared lock always succeeds and an
exclusive one never does, so nothing is deleted there.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType


class Lock:
    """A lock that is held until it is released, its last reference is gone, or the process ends.

    Args:
        path: file of the lock.
        create: create the file if it is missing.

    Attributes:
        path: file of the lock.
        is_possible: False once the file system has turned out to have no locks.
        release: Release the lock; a second call does nothing.

    Raises:
        OSError: the folder does not exist, or the file cannot be opened.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self._descriptor = _open(path, create)
        self.is_possible = True
        self._is_held = False
        self.release = weakref.finalize(self, os.close, self._descriptor)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.release()

    @property
    def is_current(self) -> bool:
        """Whether the file still has its path: a lock on a deleted file keeps nobody out."""
        try:
            current = self.path.stat()
        except OSError:
            return False
        return os.path.samestat(current, os.fstat(self._descriptor))

    def share(self) -> None:
        """Hold the lock together with others; wait while somebody holds it alone."""
        self._lock(alone=False, wait=True)

    def hold_alone(self) -> None:
        """Hold the lock alone; wait while others hold it."""
        self._lock(alone=True, wait=True)

    def try_share(self) -> bool:
        """Hold the lock together with others unless somebody holds it alone. True on a file system without locks."""
        return self._lock(alone=False, wait=False) or not self.is_possible

    def try_alone(self) -> bool:
        """Hold the lock alone if nobody else holds it; otherwise it is not held at all, not even shared."""
        return self._lock(alone=True, wait=False)

    def _lock(self, alone: bool, wait: bool) -> bool:
        """Return whether the lock is held now; on a file system without locks it is not."""
        import portalocker
        from portalocker import LockFlags

        flags = LockFlags.EXCLUSIVE if alone else LockFlags.SHARED
        try:
            if self._is_held:  # Windows adds a lock to the first one instead of replacing it
                self._is_held = False
                portalocker.unlock(self._descriptor)
            portalocker.lock(self._descriptor, flags if wait else flags | LockFlags.NON_BLOCKING)
        except portalocker.AlreadyLocked:
            return False
        except portalocker.LockException:
            self.is_possible = False
            return False
        self._is_held = True
        return True


def shared(path: Path) -> Lock:
    """Return a lock held together with others; wait while somebody holds it alone.

    Raises:
        OSError: the folder does not exist, or the file cannot be opened.
    """
    return _held(path, Lock.share)


def exclusive(path: Path) -> Lock:
    """Return a lock held alone; wait while others hold it.

    Raises:
        OSError: the folder does not exist, or the file cannot be opened.
    """
    return _held(path, Lock.hold_alone)


def try_exclusive(path: Path) -> Lock | None:
    """Return a lock held alone, or None if somebody else holds it.

    Raises:
        OSError: the folder does not exist, or the file cannot be opened.
    """
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
        lock.release()  # its file was deleted while it was waited for; there may be a new one


def _open(path: Path, create: bool) -> int:
    try:
        return os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return os.open(path, os.O_RDONLY)  # files that may only be read can still be in use
