"""Ignore Python's warnings in a single thread."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class IgnoredWarnings:
    """A warning filter that is active only in threads that have enabled it.

    `warnings.catch_warnings` replaces a list that all threads share, so two threads would undo each other's filters.
    This filter is inserted once, with itself as the pattern for module names, so that it can check the thread.

    Args:
        category: Category of the warnings.
        module: Prefix of the names of the modules that warn.
    """

    def __init__(self, category: type[Warning], module: str = "") -> None:
        self._module = module
        self._thread = threading.local()
        self._filter: Any = ("ignore", None, category, self, 0)

    def match(self, module: str) -> bool:
        """Return whether a warning from a module is ignored in this thread. Called by Python."""
        return getattr(self._thread, "is_active", False) and module.startswith(self._module)

    @contextmanager
    def here(self) -> Iterator[None]:
        """Ignore the warnings in this thread inside the block, regardless of other filters."""
        if self._filter not in warnings.filters[:1]:
            warnings.filters.insert(0, self._filter)  # type: ignore[attr-defined]
        before = getattr(self._thread, "is_active", False)
        self._thread.is_active = True
        try:
            yield
        finally:
            self._thread.is_active = before
