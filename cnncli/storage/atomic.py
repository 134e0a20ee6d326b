"""Write files completely or not at all: to a temporary name, synced to disk, then renamed.

A temporary name has a leading dot and the suffix of the final name, from which some writers derive the format. Readers
never see a partial file, and after a crash there is the old file or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cnncli.errors import CnncliError, Message, printable

FIGURES = (".png", ".svg")
"""Suffixes of figures."""

MAX_NAME_BYTES = 255
"""Maximum size of the name of a file on usual file systems."""


def write_atomically(path: Path, data: bytes | str | Iterable[str]) -> None:
    """Write a file atomically, in one piece or several. Text is encoded as UTF-8 and its line endings are kept."""
    parts = (data,) if isinstance(data, bytes | str) else data
    with replacing(path) as temporary, temporary.open("wb") as file:
        for part in parts:
            file.write(part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces `path` after the block unless that raises."""
    with _temporary(path) as temporary:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)


@contextmanager
def creating(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which becomes `path` after the block unless that raises.

    Raises:
        FileExistsError: There is such a file by then, perhaps of another process; it is unchanged.
    """
    with _temporary(path) as temporary:
        yield temporary
        sync_file(temporary)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            temporary.replace(path)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    temporary = path.with_name(fitting_name(f".{path.stem}", f".{os.urandom(4).hex()}{path.suffix}"))
    try:
        with naming(path):
            yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()
    sync_folder(path.parent)


def fitting_name(stem: str, ending: str) -> str:
    """Return the name of a file, with a shorter stem if file systems would refuse it as too long."""
    while stem and len(os.fsencode(stem + ending)) > MAX_NAME_BYTES:
        stem = stem[:-1]
    return stem + ending


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make an OSError raised inside the block name `path` if it names no path, as from fsync, or a temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)).name.startswith("."):
            error.filename, error.filename2 = str(path), None
        raise


def touch(path: Path) -> None:
    """Set a file's modification time to now, if the disk allows it."""
    with suppress(OSError):
        os.utime(path)


def sync_file(path: Path, flags: int = os.O_RDWR) -> None:
    """Force a file's content to disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force a folder's entries to disk, if the platform allows it, so that a rename survives a crash."""
    with suppress(OSError):  # Windows cannot open folders, and some network file systems cannot sync them
        sync_file(path, os.O_RDONLY)


def output_path(path: Path, suffixes: Sequence[str] = FIGURES) -> Path:
    """Return the absolute path of a file to write, by default a figure; a link is followed.

    Raises:
        CnncliError: It, or the file that it links to, ends in none of the suffixes, or its folder does not exist or
            allows no new files.
    """
    for name in (path, path.resolve()):
        if name.suffix.lower() not in suffixes:
            expected = f"a name that ends in {' or '.join(suffixes)}"
            text = (
                f"{printable(path)}: expected {expected}{'' if name is path else f', not a link to {printable(name)}'}"
            )
            raise CnncliError(Message("usage-suffix", text, path=path, expected=expected))
    if not path.parent.is_dir():
        text = f"{printable(path)}: no such folder: {printable(path.parent)}"
        raise CnncliError(Message("usage-out-folder-missing", text, path=path.parent))
    _require_creatable(path.resolve())
    return path.resolve()


def _require_creatable(path: Path) -> None:
    """Raise CnncliError if no file can be created next to a path, unless rows can be added to a file that is there."""
    try:
        with _temporary(path) as temporary:
            temporary.touch()
    except OSError as error:
        if not (path.is_file() and os.access(path, os.W_OK)):
            text = (
                f"{printable(path)}: no file can be created in this folder ({error.strerror}). Choose another folder."
            )
            raise CnncliError(
                Message("usage-out-folder-not-writable", text, path=path.parent, reason=error.strerror)
            ) from error
