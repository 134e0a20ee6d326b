"""Keras's own ImageNet weights, through Keras's own download into Keras's own folder."""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cnncli.errors import Message, WeightsError, printable
from cnncli.networks.backend import import_keras
from cnncli.networks.weights.hdf5 import is_hdf5
from cnncli.terminal.console import is_terminal

log = logging.getLogger(__name__)

SILENCE_S = 60.0
ABANDONED_S = 24 * 3600.0


@dataclass(frozen=True)
class PublishedFile:
    """A file of ImageNet weights as Keras would request it.

    Attributes:
        name: File name below $KERAS_HOME/models.
        url: Address from which Keras downloads it.
        digest: MD5 or SHA-256 in hexadecimal digits, or None if Keras knows none.
    """

    name: str
    url: str
    digest: str | None


def weights_folder() -> Path:
    """Where Keras keeps downloaded weights: `$KERAS_HOME/models`, else `~/.keras/models`, by its own rule."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        user = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() fails where there is no home folder
        home = str((user if os.access(user, os.W_OK) else Path("/tmp")) / ".keras")
    return Path(home).expanduser() / "models"


def fetch(file: PublishedFile) -> Path:
    """Return the path of a published file in Keras's directory, downloading it if it is missing or incomplete.

    A download gets its final name only when it is complete, so an interrupted one is never taken for weights: for
    MobileNet and MobileNetV2, Keras has no hash to check.

    Raises:
        WeightsError: no network, refused, not found, incomplete, or with another hash than Keras expects.
    """
    target = weights_folder() / file.name
    if target.is_file() and _is_whole(target, file):
        return target
    with _folder_beside(target) as folder:
        fetched = _download(file, folder, target)
        if not _is_whole(fetched, file):
            raise WeightsError(_problem(file, target, "what came is no file of weights"))
        fetched.replace(target)
    return target


def _is_whole(path: Path, file: PublishedFile) -> bool:
    """Whether a file is what Keras published, as far as can be told: by its hash, else by its own length."""
    if file.digest is None:
        return is_hdf5(path)
    from keras.src.utils.file_utils import validate_file

    return bool(validate_file(str(path), file.digest))


@contextlib.contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """Provide a temporary directory on the same disk, so that a file can be moved into its place by one rename."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        folder = Path(tempfile.mkdtemp(prefix=".download-", dir=target.parent))
    except OSError as error:
        text = (
            f"{printable(target.parent)}: ImageNet weights cannot be kept here ({error.strerror}): set KERAS_HOME to a "
            "folder that can be written"
        )
        raise WeightsError(Message("weights-folder-unusable", text, path=target.parent)) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what downloads that were killed have left behind: nothing takes more than a day."""
    for left in folder.glob(".download-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)


def _download(file: PublishedFile, folder: Path, target: Path) -> Path:
    utils = import_keras().utils
    try:
        with _progress_on_stderr(file), _impatient():
            fetched = utils.get_file(file.name, file.url, file_hash=file.digest, cache_dir=folder, cache_subdir="")
    # Keras raises bare Exception for most of what goes wrong on the way.
    except Exception as error:
        raise WeightsError(_problem(file, target, _reason(error))) from error
    return Path(fetched)


@contextlib.contextmanager
def _progress_on_stderr(file: PublishedFile) -> Iterator[None]:
    """Keras's bar, which it prints to stdout, on a terminal's stderr; elsewhere one line in place of thousands."""
    log.info(f"downloading {file.name} from {file.url}")
    with contextlib.redirect_stdout(sys.stderr if is_terminal(sys.stderr) else io.StringIO()):
        yield


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Limit the time without an answer from a server; Keras itself would wait forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _problem(file: PublishedFile, target: Path, reason: str) -> Message:
    there = " in place of the one there, which is damaged or another," if target.is_file() else ","
    return Message(
        "weights-download-failed",
        f"backbone.weights: {file.name} cannot be fetched from {file.url} ({reason}): put the file at "
        f"{printable(target)}{there} or name a file of weights in its stead",
        key="backbone.weights",
        url=file.url,
        path=target,
        reason=reason,
    )


def _reason(error: BaseException) -> str:
    """Why a download failed, in a few words; Keras wraps the cause in an exception without a type."""
    cause = error.__context__ if type(error) is Exception and error.__context__ is not None else error
    if isinstance(cause, urllib.error.HTTPError):
        return f"the server answers {cause.code} {cause.reason}"
    if isinstance(cause, urllib.error.ContentTooShortError | http.client.HTTPException | ConnectionResetError):
        return f"the connection broke off: {_words(cause)}"
    if isinstance(cause, urllib.error.URLError) and isinstance(cause.reason, OSError):
        cause = cause.reason
    if isinstance(cause, socket.gaierror):
        return f"no network: {_words(cause)}"
    if isinstance(cause, TimeoutError):
        return f"no answer for {SILENCE_S:.0f} s"
    if isinstance(cause, ValueError):
        return "what came has another hash than Keras expects"
    return _words(cause)


def _words(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
