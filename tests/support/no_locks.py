"""Simulate a file system without locks."""

from __future__ import annotations

import errno

import pytest
from portalocker import portalocker


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all attempts to lock a file fail, as on some network file systems."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(portalocker, "LOCKER", refuse)
