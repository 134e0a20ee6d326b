"""Advisory file locks: users of an entry share its lock, and a process that deletes it holds the lock exclusively.

The operating system releases a lock when its process ends, even after a crash. portalocker works on every platform
(`flock` on Linux and macOS, `LockFileEx` on Windows). On file systems without locks, a shared lock always succeeds and
an exclusive lock never does, so nothing is deleted there.
"""

from __future__ import annotations

import errno
import os
import weakref
from contextlib import AbstractContextManager, suppress
from pathlib import Path


class Lock(AbstractContextManager["Lock"]):
    """A lock that is held until it is released, its last reference is gone, or the process ends.

    Args:
        path: File of the lock.
        create: Whether to create the file if it is missing.

    Attributes:
        is_possible: False if the file system does not support locks.
        release: Release the lock; a second call has no effect.

    Raises:
        OSError: The folder does not exist, or the file cannot be opened.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self._path = path
        self._descriptor = _open(path, create)
        self.is_possible = True
        self._is_held = False
        self.release = weakref.finalize(self, os.close, self._descriptor)

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def is_current(self) -> bool:
        """Whether the path still leads to the locked file, which may have been deleted."""
        try:
            current = self._path.stat()
        except OSError:
            return False
        return os.path.samestat(current, os.fstat(self._descriptor))

    def try_alone(self) -> bool:
        """Acquire the exclusive lock if no other process holds the lock; otherwise a shared lock is lost, too."""
        return self.acquire(exclusive=True, wait=False)

    def acquire(self, exclusive: bool, wait: bool) -> bool:
        """Return whether the lock is held now, which is never the case on a file system without locks."""
        import portalocker
        from portalocker import LockFlags

        flags = LockFlags.EXCLUSIVE if exclusive else LockFlags.SHARED
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
    """Return a shared lock; wait while another process holds the exclusive one. For errors, see `Lock`."""
    return _acquired(path, exclusive=False)


def exclusive(path: Path) -> Lock:
    """Return an exclusive lock; wait while other processes hold the lock. For errors, see `Lock`."""
    return _acquired(path, exclusive=True)


def try_exclusive(path: Path) -> Lock | None:
    """Return an exclusive lock, or None if another process holds the lock. For errors, see `Lock`."""
    lock = Lock(path)
    if lock.try_alone() and lock.is_current:
        return lock
    lock.release()
    return None


def is_locked(path: Path) -> bool:
    """Return whether a process holds a lock, or True if that is unknown."""
    try:
        with Lock(path, create=False) as lock:
            return not lock.try_alone()
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _acquired(path: Path, exclusive: bool) -> Lock:
    while True:
        lock = Lock(path)
        lock.acquire(exclusive, wait=True)
        if lock.is_current:
            return lock
        lock.release()  # the file was deleted in the meantime; there may be a new one


def _open(path: Path, create: bool) -> int:
    try:
        return os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY)  # read-only files can still be in use
        raise
