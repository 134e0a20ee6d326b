"""Python's warnings, ignored in one thread alone."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class IgnoredWarnings:
    """A warning filter that holds only where, and while, a thread asks for it.

    `warnings.catch_warnings` swaps a list that all threads share, so two threads would undo each other's filters, and
    everybody else's. This filter is inserted once and stands where others have a pattern for the module: it also asks
    which thread is warning.
    """

    def __init__(self, category: type[Warning], module: str = "") -> None:
        """Ignore warnings of a category from modules whose name begins with `module`."""
        self._module = module
        self._thread = threading.local()
        self._filter: Any = ("ignore", None, category, self, 0)

    def match(self, module: str) -> bool:
        """Whether a warning from this module is ignored here and now; called by Python."""
        return getattr(self._thread, "asks", False) and module.startswith(self._module)

    @contextmanager
    def here(self) -> Iterator[None]:
        """In this thread, inside this context, they are ignored, whatever other filters are set."""
        if self._filter not in warnings.filters[:1]:
            warnings.filters.insert(0, self._filter)  # type: ignore[attr-defined]
        before = getattr(self._thread, "asks", False)
        self._thread.asks = True
        try:
            yield
        finally:
            self._thread.asks = before
