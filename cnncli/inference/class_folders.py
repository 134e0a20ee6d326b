"""Sort images into a folder for each predicted class, without moving or changing them.

An image becomes a hard link, which takes no space, or a copy where the file system or its permissions allow none. A
file of the same content is not stored twice, so sorting again changes nothing; a different file under the same name is
kept, and the image gets a number.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from cnncli.errors import CnncliError, Message, printable
from cnncli.storage.atomic import replacing

UNKNOWN, NO_LABEL = "unknown", "no label"
"""Folders of images that a run does not answer, and of those without any of several labels."""

MAX_NAME = 100
"""Characters of the name of a folder."""

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
        """Link or copy an image into the folder of each of its labels, and return the files there. Raises OSError."""
        names = [UNKNOWN] if is_unknown else [self._names[label] for label in labels] or [NO_LABEL]
        return [self._add_to(self.root / name, image.resolve()) for name in names]

    def _add_to(self, folder: Path, image: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = folder / (image.name if number == 1 else f"{image.stem}-{number}{image.suffix}")
            if not os.path.lexists(path):
                self._store(image, path)
                return path
            if path.is_file() and (path.samefile(image) or filecmp.cmp(path, image, shallow=False)):
                return path
        raise AssertionError  # count does not end

    def _store(self, image: Path, path: Path) -> None:
        if not self.copies:
            try:
                os.link(image, path)
                return
            except (FileNotFoundError, FileExistsError):
                raise
            except OSError:
                pass  # another file system, or one without links, or a file of somebody else
        with replacing(path) as temporary:
            shutil.copy2(image, temporary)


def folder_names_of(classes: Sequence[str]) -> dict[str, str]:
    """Return a name for the folder of each class that every file system accepts and that no other folder has.

    >>> folder_names_of(["cat", "../a", "CAT", "unknown"])
    {'cat': 'cat', '../a': '.._a', 'CAT': 'CAT-2', 'unknown': 'unknown-2'}
    """
    names: dict[str, str] = {}
    taken = {UNKNOWN, NO_LABEL}
    for label in classes:
        plain = _NOT_IN_NAMES.sub("_", printable(label))[:MAX_NAME].rstrip(". ") or "_"
        name = next(one for n in count(1) if (one := plain if n == 1 else f"{plain}-{n}").casefold() not in taken)
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
