"""Files from anywhere, opened so that none of them makes the reader wait for ever or fills its memory.

A folder that was copied from elsewhere can hold a named pipe in a file's place, a gigabyte where a kilobyte is
expected, or a hundred thousand brackets.
"""

from __future__ import annotations

import errno
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_JSON_BYTES = 16 * 2**20


def open_regular(path: Path) -> io.BufferedReader:
    """A file opened for reading, without ever waiting for whoever writes into a pipe.

    Raises: OSError: nothing there, no permission, or no regular file.
    """
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(kind):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path.open("rb")


def read_bytes(path: Path, most: int) -> bytes:
    """The bytes of a file that has at most so many.

    Raises: OSError: it has more, or cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, most) + 1)  # no more than that is set aside for it
    if size > most or len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {most:,} bytes", str(path))
    return data


def read_json(path: Path, most: int = MOST_JSON_BYTES) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: it cannot be read, or is larger than `most` bytes.
        ValueError: it is no JSON, or nested without end.
    """
    return parse_json(read_bytes(path, most))


def parse_json(data: bytes) -> Any:
    """What a JSON text means.

    Raises: ValueError: it is no JSON, or nested without end.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested without end") from None
