"""Read untrusted files so that they can neither block the reader nor fill its memory.

An untrusted folder can contain a named pipe in place of a file, a gigabyte instead of a kilobyte, or a hundred thousand
nested brackets.
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
    """Open a regular file for reading, without blocking on a named pipe.

    Raises:
        OSError: The file does not exist, may not be read, or is not a regular file.
    """
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # `open` itself refuses a folder
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path.open("rb")


def read_bytes(path: Path, most: int) -> bytes:
    """Read a file of at most `most` bytes.

    Raises:
        OSError: The file is larger, or cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, most) + 1)  # allocates at most this
    if size > most or len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {most:,} bytes", str(path))
    return data


def read_json(path: Path, most: int = MOST_JSON_BYTES) -> Any:
    """Read a JSON file of at most `most` bytes.

    Raises:
        OSError: The file is larger, or cannot be read.
        ValueError: The content is not valid JSON, or nested too deeply.
    """
    return parse_json(read_bytes(path, most))


def parse_json(data: bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: The text is not valid JSON, or nested too deeply.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
