"""Sort images into a folder for each predicted class, without moving or changing them.

An image becomes a hard link, which takes no space, or a copy where the file system or its permissions allow none, or if
it is in a shard. A file of the same content is not stored twice, so sorting again changes nothing; a different file
under the same name is kept, and the image gets a number.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path, PurePath

from cnncli.errors import CnncliError, Message, printable
from cnncli.images.formats import SIGNATURE_BYTES, format_of
from cnncli.shards.places import PARQUET, split_place
from cnncli.shards.shard import read_image
from cnncli.storage.atomic import creating, fitting_name

UNKNOWN, NO_LABEL = "unknown", "no label"
"""Folders of images that a run does not answer, and of those without any of several labels."""

MAX_NAME = 100
"""Maximum number of characters of the name of a folder, before its number."""

_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')


class ClassFolders:
    """A folder with a folder for each class.

    Args:
        root: The folder, which is created when the first image is sorted.
        classes: Class names.
        copies: Whether images are copied where they could be linked.
    """

    def __init__(self, root: Path, classes: Sequence[str], *, copies: bool = False) -> None:
        self.root = root
        self.copies = copies
        self._names = folder_names_of(classes)

    def add(self, image: Path, labels: Sequence[str], *, is_unknown: bool) -> list[Path]:
        """Link or copy an image into the folder of each of its labels, and return the files there.

        Raises:
            CnncliError: A folder cannot be created.
            OSError: The image does not exist anymore, or the disk is full.
        """
        names = [UNKNOWN] if is_unknown else [self._names[label] for label in labels] or [NO_LABEL]
        if (place := split_place(image)) is not None:
            content = read_image(image)
            file_name = _file_name(*place, content)
            return [_write_to(self.root / name, file_name, content) for name in names]
        return [self._add_to(self.root / name, image) for name in names]

    def _add_to(self, folder: Path, image: Path) -> Path:
        content = image.resolve()  # a link to a link would depend on where it is

        def is_same(path: Path) -> bool:
            return path.samefile(content) or filecmp.cmp(path, content, shallow=False)

        return _place(folder, image, lambda path: self._store(content, path), is_same)

    def _store(self, image: Path, path: Path) -> None:
        if not self.copies:
            try:
                os.link(image, path)
                return
            except (FileNotFoundError, FileExistsError):
                raise
            except OSError:
                pass  # another file system, or one without links, or a file of somebody else
        with creating(path) as temporary:
            shutil.copyfile(image, temporary)
        shutil.copystat(image, path)  # afterwards, since a read-only file cannot be synced


def _write_to(folder: Path, name: PurePath, content: bytes) -> Path:
    def write(path: Path) -> None:
        with creating(path) as temporary:
            temporary.write_bytes(content)

    def is_same(path: Path) -> bool:
        return path.stat().st_size == len(content) and path.read_bytes() == content

    return _place(folder, name, write, is_same)


def _place(folder: Path, name: PurePath, store: Callable[[Path], None], is_same: Callable[[Path], bool]) -> Path:
    """Store an image in a folder under its name or the name with a number, unless it is there; return its path."""
    _create(folder)
    for number in count(1):
        path = folder / fitting_name(name.stem, name.suffix if number == 1 else f"-{number}{name.suffix}")
        if not os.path.lexists(path):
            with suppress(FileExistsError):  # another process took the name in the meantime
                store(path)
                return path
        if path.is_file() and is_same(path):
            return path
    raise AssertionError  # the names do not end


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        text = f"--sort-into: cannot create the folder {printable(folder)} ({error.strerror}); name another folder."
        raise CnncliError(Message("usage-sort-folder", text, path=folder, reason=error.strerror)) from error


def _file_name(shard: str, name: str, content: bytes) -> PurePath:
    """Return the name of the file for an image of a shard; a row of a Parquet file has only a number.

    >>> _file_name("photos/train.parquet", "17", b"GIF89a").name
    'train-17.gif'
    """
    if not shard.lower().endswith(PARQUET):
        return PurePath(name)
    kind = format_of(content[:SIGNATURE_BYTES])
    suffix = {None: "", "JPEG": ".jpg", "JPEG2000": ".jp2"}.get(kind, f".{kind}".lower())
    return PurePath(f"{PurePath(shard).stem}-{name}{suffix}")


def folder_names_of(classes: Sequence[str]) -> dict[str, str]:
    """Return a name for the folder of each class that every file system accepts and that no other folder has.

    >>> folder_names_of(["cat", "../a", "CAT", "unknown"])
    {'cat': 'cat', '../a': '.._a', 'CAT': 'CAT-2', 'unknown': 'unknown-2'}
    """
    names: dict[str, str] = {}
    taken = {UNKNOWN, NO_LABEL}
    for label in classes:
        plain = fitting_name(_NOT_IN_NAMES.sub("_", printable(label))[:MAX_NAME], "").rstrip(". ") or "_"
        numbered = (plain if n == 1 else fitting_name(plain, f"-{n}") for n in count(1))
        name = next(one for one in numbered if one.casefold() not in taken)
        taken.add(name.casefold())
        names[label] = name
    return names


def require_outside(root: Path, sources: Sequence[str]) -> None:
    """Raise CnncliError if the folder lies in a folder of images, which would be sorted again and again."""
    for source in sources:
        folder = Path(source)
        if folder.is_dir() and root.resolve().is_relative_to(folder.resolve()):
            text = f"--sort-into {printable(root)}: is inside {printable(source)}, whose images are sorted"
            raise CnncliError(Message("usage-sort-inside", f"{text}; name another folder.", path=root, received=source))
