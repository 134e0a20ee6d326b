"""Keep Pillow and libtiff from talking while an image is read: what is wrong with it becomes one reason instead."""

from __future__ import annotations

import ctypes
import functools
import logging
from pathlib import Path

import PIL

from cnncli.runtime.warnings import IgnoredWarnings

PILLOW_WARNINGS = IgnoredWarnings(Warning, "PIL.")

logging.getLogger("PIL").addHandler(logging.NullHandler())  # or else Python prints what it says to a log, on stderr


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
