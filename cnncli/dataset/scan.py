"""Where the images lie: which folders are splits, which are classes, which files claim to be images.

Nothing is decoded here. What is no image is left out and counted by reason; what is wrong with the folders is
collected as problems, so that all of it can be told at once.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cnncli.dataset.stat_index import StatKey, stat_key
from cnncli.errors import DataError, printable
from cnncli.images.formats import SIGNATURE_BYTES, format_of, is_image_name, is_raw_name

SPLITS = ("train", "validation", "test")
ALL = "all"
"""Stands for the split of images that lie in class folders alone."""
SPLIT_NAMES = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "ehthumbs.db")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that is or claims to be an image; `key` is None where it cannot be looked at."""

    path: str
    split: str
    label: str
    key: StatKey | None


@dataclass
class Scan:
    """What a folder holds.

    Attributes:
        root: the folder, resolved.
        folders: the folder of each split; the root itself for `all`.
        classes: for each split in order the names of its class folders, sorted; the split is `all` where the class
            folders lie in the root.
        candidates: sorted by split, class and path.
        left_out: how many files and folders were passed over, by reason.
        problems: errors, a line each.
        notes: what a reader should know.
    """

    root: Path
    folders: dict[str, Path] = field(default_factory=dict)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    candidates: list[Candidate] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def has_splits(self) -> bool:
        """Whether there are split folders."""
        return ALL not in self.classes


def scan(root: Path) -> Scan:
    """Find splits, classes and candidates below a folder.

    Raises: DataError: there is no such folder.
    """
    if reason := _why_no_folder(root):
        raise DataError(f"{printable(root)}: {reason}")
    found = Scan(root.resolve())
    folders = _subfolders(found.root, found)
    splits, others = _split_folders(folders, found)
    if not splits:
        _scan_split(found, ALL, found.root, folders)
        return found
    if others:
        names = ", ".join(f"{printable(name)}/" for name in others)
        found.left_out["folder beside the split folders"] += len(others)
        found.notes.append(f"beside the split folders, left out: {names}")
    for split in SPLITS:
        if split in splits:
            _scan_split(found, split, splits[split], _subfolders(splits[split], found))
    return found


def images_below(folder: Path) -> tuple[list[Path], list[str]]:
    """Every file below a folder that is or claims to be an image, sorted; nothing is asked of the folders.

    Returns: the files, and a line for each folder that cannot be looked into.
    """
    found = Scan(folder)
    return [Path(path) for path, _ in sorted(_files_below(str(folder), found))], found.problems


def _why_no_folder(path: Path) -> str | None:
    try:
        return None if stat.S_ISDIR(path.stat().st_mode) else "is a file; a folder of images is expected"
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return "there is no such folder"
    except OSError as error:
        return f"cannot be looked into ({error.strerror})"


def _split_folders(folders: dict[str, Path], found: Scan) -> tuple[dict[str, Path], list[str]]:
    """The split folders by canonical name, and the names of the other folders.

    A folder called train may also be a class (of vehicles): it is one if there are other folders beside it and neither
    it nor another split folder holds folders of its own.
    """
    named = {name: SPLIT_NAMES[name.lower()] for name in folders if name.lower() in SPLIT_NAMES}
    others = [name for name in folders if name not in named]
    if others and not any(_subfolders(folders[name], Scan(found.root)) for name in named):
        return {}, []
    splits: dict[str, Path] = {}
    for name, split in named.items():
        if split in splits:
            both = f"{printable(splits[split].name)}/ and {printable(name)}/"
            found.problems.append(f"{printable(found.root)}: {both} are both the {split} split; keep one")
        else:
            splits[split] = folders[name]
    return splits, others


def _scan_split(found: Scan, split: str, folder: Path, class_folders: dict[str, Path]) -> None:
    found.folders[split] = folder
    found.classes[split] = tuple(class_folders)
    for label, path in class_folders.items():
        files = sorted(_files_below(os.fspath(path), found))
        found.candidates += [Candidate(file, split, label, key) for file, key in files]


def _subfolders(folder: Path, found: Scan) -> dict[str, Path]:
    """The visible folders in a folder, by name and sorted by it; everything else there is left out and counted."""
    folders: dict[str, Path] = {}
    for entry in _entries(os.fspath(folder), found):
        if reason := _passed_over(entry.name):
            found.left_out[reason] += 1
        elif _is_folder(entry):
            folders[entry.name] = Path(entry.path)
        else:
            reason = _why_no_image(entry, _stat_of(entry))
            found.left_out[reason or "image outside the class folders"] += 1
    return folders


def _files_below(class_folder: str, found: Scan) -> Iterator[tuple[str, StatKey | None]]:
    """The candidates in a class folder and below it; each folder is entered once, so loops of links end."""
    # A link back to the root or above would bring the images of all classes into this one.
    visited = {(facts.st_dev, facts.st_ino) for facts in map(Path.stat, Path(class_folder).parents)}
    # Links wait until all real folders are done, so that an image's path is the one without a link.
    folders, links = [class_folder], list[str]()
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        if not _enter(folder, visited, found):
            continue
        entries = _entries(folder, found)
        if not entries and is_image_name(folder):
            found.left_out["empty folder named like an image"] += 1
        for entry in entries:
            if reason := _passed_over(entry.name):
                found.left_out[reason] += 1
            elif _is_folder(entry):
                (links if entry.is_symlink() else folders).append(entry.path)
            elif reason := _why_no_image(entry, file := _stat_of(entry)):
                found.left_out[reason] += 1
            else:
                yield entry.path, stat_key(file) if file else None


def _enter(folder: str, visited: set[tuple[int, int]], found: Scan) -> bool:
    """Whether a folder is seen for the first time."""
    try:
        facts = Path(folder).stat()
    except OSError as error:
        found.problems.append(f"{printable(folder)}: {error.strerror}")
        return False
    if (facts.st_dev, facts.st_ino) in visited:
        found.left_out["link to a folder that was already visited"] += 1
        return False
    visited.add((facts.st_dev, facts.st_ino))
    return True


def _entries(folder: str, found: Scan) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        found.problems.append(f"{printable(folder)}: cannot be listed ({error.strerror})")
        return []


def _passed_over(name: str) -> str | None:
    """The reason for passing over a file or folder by its name, or None."""
    if name == "__MACOSX":
        return "__MACOSX folder"
    if name.startswith("."):
        return "hidden file or folder"
    return "system file such as Thumbs.db" if name.lower() in _SYSTEM_FILES else None


def _why_no_image(entry: os.DirEntry[str], file: os.stat_result | None) -> str | None:
    """The reason why a file is no candidate, or None if its name or its first bytes say that it is an image."""
    if is_image_name(entry.name):
        return None
    if is_raw_name(entry.name):
        return "camera RAW file"
    if file is None:
        return "link that leads nowhere"
    if not stat.S_ISREG(file.st_mode):
        return "not a regular file"
    try:
        with Path(entry.path).open("rb", buffering=0) as content:
            return None if format_of(content.read(SIGNATURE_BYTES)) else "not an image"
    except OSError:
        return "cannot be opened"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself


def _stat_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:
        return None
