"""Download ImageNet weights published by Keras to Keras's own folder."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cnncli.errors import Message, WeightsError, printable, reason_of
from cnncli.networks.weights.hdf5 import open_hdf5
from cnncli.storage.atomic import replacing
from cnncli.terminal.console import is_terminal

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
ABANDONED_S = 24 * 3600.0


@dataclass(frozen=True)
class PublishedFile:
    """A file of ImageNet weights that Keras would download; `digest` is an MD5 or SHA-256 in hexadecimal digits."""

    name: str
    url: str
    digest: str | None


def weights_folder() -> Path:
    """Return Keras's folder of downloaded weights: `$KERAS_HOME/models`, else `~/.keras/models`."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        user = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() fails where there is no home folder
        home = str((user if os.access(user, os.W_OK) else Path("/tmp")) / ".keras")
    return Path(home).expanduser() / "models"


def fetch(file: PublishedFile) -> Path:
    """Return the path of a published file in Keras's folder, after downloading it if it is missing or incomplete.

    An interrupted download is never used as weights, although Keras has no hash for MobileNet and MobileNetV2.

    Raises:
        WeightsError: The file cannot be downloaded, is incomplete, or does not have the hash that Keras expects.
    """
    target = weights_folder() / file.name
    if target.is_file() and _is_complete(target, file):
        return target
    log.info(f"downloading {file.name} from {file.url}")
    try:
        _prepare_folder(target)
        with replacing(target) as temporary:
            _download(file.url, temporary)
            if not _is_complete(temporary, file):
                raise ValueError("the downloaded file is not the one that Keras published")
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = error.reason if type(error) is urllib.error.URLError else error
        reason = reason_of(cause) if isinstance(cause, BaseException) else cause
        key, remedy = (
            "backbone.weights",
            f"put the file at {printable(target)}, or set KERAS_HOME to a different folder",
        )
        text = f"{key}: {file.name} cannot be downloaded from {file.url} ({reason}): {remedy}"
        facts = {"key": key, "url": file.url, "path": target, "reason": reason}
        raise WeightsError(Message("weights-download-failed", text, **facts)) from error
    return target


def _is_complete(path: Path, file: PublishedFile) -> bool:
    """Return whether a file has the hash that Keras expects or, without a hash, is not truncated."""
    if file.digest is None:
        with suppress(Exception), open_hdf5(path):  # HDF5 raises exceptions of many types for damaged files
            return True
        return False
    with path.open("rb") as content:
        algorithm = "md5" if len(file.digest) == 32 else "sha256"
        return hashlib.file_digest(content, algorithm).hexdigest() == file.digest


def _prepare_folder(target: Path) -> None:
    """Create the folder of a file, and delete old partial downloads in it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for temporary in target.parent.glob(f".{target.stem}.*{target.suffix}"):
        with suppress(OSError):
            if time.time() - temporary.stat().st_mtime > ABANDONED_S:
                temporary.unlink()


def _download(url: str, path: Path) -> None:
    """Download a file, with a bar if stderr is a terminal."""
    import rich.console
    import rich.progress

    console = rich.console.Console(file=sys.stderr)
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response, path.open("wb") as file:
        total, hidden = response.length or 0, not is_terminal(sys.stderr)
        with rich.progress.wrap_file(response, total, description="weights", console=console, disable=hidden) as data:
            shutil.copyfileobj(data, file)
        if response.length:
            raise http.client.HTTPException(f"the connection ended {response.length:,} bytes too early")
