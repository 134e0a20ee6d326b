"""Keep Pillow and libtiff from talking while a picture is read: what is wrong with it becomes one reason instead."""

from __future__ import annotations

import ctypes
import functools
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import PIL

_thread = threading.local()


class _WhileReading:
    """Stands where a warning filter has its pattern for the module, and also asks which thread is warning.

    `warnings.catch_warnings` swaps a list that all threads share, so two decoding threads would undo each other's
    filters. This one filter is inserted once, says yes only in threads that are reading a picture, and leaves the
    warnings of everybody else alone.
    """

    def match(self, module: str) -> bool:
        return getattr(_thread, "is_reading", False) and module.startswith("PIL.")


_FILTER: Any = ("ignore", None, Warning, _WhileReading(), 0)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """In this thread, inside this context, Pillow's own warnings are ignored, whatever filters are set."""
    if _FILTER not in warnings.filters[:1]:
        warnings.filters.insert(0, _FILTER)  # type: ignore[attr-defined]
    before = getattr(_thread, "is_reading", False)
    _thread.is_reading = True
    try:
        yield
    finally:
        _thread.is_reading = before


@functools.cache
def quiet_libtiff() -> None:
    """Take from Pillow's libtiff, for good, its habit of printing to stderr; where it cannot be found, nothing happens.

    Its errors still reach Python as exceptions. Redirecting stderr would swallow the lines of other threads.
    """
    package = Path(PIL.__file__).parent
    for library in (*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")):
        try:
            loaded = ctypes.CDLL(str(library))
            for function in (loaded.TIFFSetErrorHandler, loaded.TIFFSetWarningHandler):
                function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
                function(None)
        except (OSError, AttributeError):
            continue
