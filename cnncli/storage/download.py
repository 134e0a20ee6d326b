"""Download published files to Keras's own folder, and check their hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cnncli.errors import reason_of
from cnncli.storage.atomic import replacing
from cnncli.terminal.console import is_terminal

TIMEOUT_S = 60.0
ABANDONED_S = 24 * 3600.0


class DownloadError(Exception):
    """A download failed, for the reason that the message states."""


@dataclass(frozen=True)
class PublishedFile:
    """A file on a server; `digest` is its MD5 or SHA-256 in hexadecimal digits, or None if none is published."""

    name: str
    url: str
    digest: str | None


def keras_folder(name: str) -> Path:
    """Return a folder of Keras's downloads, such as `models`: `$KERAS_HOME/models`, else `~/.keras/models`."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        user = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() fails where there is no home folder
        home = str((user if os.access(user, os.W_OK) else Path("/tmp")) / ".keras")
    return Path(home).expanduser() / name


def has_digest(path: Path, digest: str) -> bool:
    """Return whether a file has an MD5 or SHA-256, given in hexadecimal digits."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, algorithm_of(digest)).hexdigest() == digest


def algorithm_of(digest: str) -> str:
    """Return the name of the hash function of a digest in hexadecimal digits.

    >>> algorithm_of("d41d8cd98f00b204e9800998ecf8427e")
    'md5'
    """
    return "md5" if len(digest) == 32 else "sha256"


def download(url: str, target: Path, is_complete: Callable[[Path], bool], description: str) -> None:
    """Download a file atomically, with a bar if stderr is a terminal.

    Args:
        url: Address of the file.
        target: Path to write, whose folder is created.
        is_complete: Function that returns whether a path holds the expected file.
        description: Label of the bar, in a word.

    Raises:
        DownloadError: The server cannot be reached or has no such file, the file is incomplete or a different one, or
            it cannot be written.
    """
    import http.client
    import urllib.error

    try:
        _prepare_folder(target)
        with replacing(target) as temporary:
            _download(url, temporary, description)
            if not is_complete(temporary):
                raise ValueError("the downloaded file is not the one that was published")
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        cause = error.reason if type(error) is urllib.error.URLError else error
        raise DownloadError(reason_of(cause) if isinstance(cause, BaseException) else str(cause)) from error


def _prepare_folder(target: Path) -> None:
    """Create the folder of a file, and delete old partial downloads in it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for temporary in target.parent.glob(f".{target.stem}.*{target.suffix}"):
        with suppress(OSError):
            if time.time() - temporary.stat().st_mtime > ABANDONED_S:
                temporary.unlink()


def _download(url: str, path: Path, description: str) -> None:
    import http.client
    import urllib.request

    import rich.console
    import rich.progress

    console = rich.console.Console(file=sys.stderr)
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response, path.open("wb") as file:
        total, hidden = response.length or 0, not is_terminal(sys.stderr)
        bar = rich.progress.wrap_file(response, total, description=description, console=console, disable=hidden)
        with bar as data:
            shutil.copyfileobj(data, file)
        if response.length:
            raise http.client.HTTPException(f"the connection ended {response.length:,} bytes too early")
