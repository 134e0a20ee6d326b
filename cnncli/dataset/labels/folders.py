"""Folders as the source of labels: class folders, with or without split folders above them.

Nothing is decoded here. A file that is not an image is left out and counted by reason.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path

from cnncli.dataset.issues import Issue
from cnncli.dataset.records import SPLITS, UNSPLIT, ImageRecord, LabeledImages
from cnncli.dataset.stat_index import StatKey, stat_key
from cnncli.errors import DataError, Message, printable
from cnncli.images.formats import SIGNATURE_BYTES, format_of, is_image_name, is_raw_name

OUTSIDE_CLASSES = "image outside the class folders"
HEIC = "HEIC image"
RAW = "camera RAW file"

_SYNONYMS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "validate", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_FILLERS = {"set", "data", "dataset", "split", "images", "image", "imgs", "img", "pics", "photos", "seg", "folder"}
_JOINED = re.compile(rf"({'|'.join(_SYNONYMS)})(?:set|data|images|imgs)")

_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "ehthumbs.db")
_SYSTEM_FOLDERS = {
    *("__macosx", "$recycle.bin", "system volume information", "lost+found", "@eadir", "#recycle", "#snapshot"),
    *("node_modules", "__pycache__"),
}
_ANNOTATION_FOLDERS = {"annotations", "annotation", "labels", "masks", "metadata", "xml", "json"}


def split_named(name: str) -> str | None:
    """Return the split that a folder name stands for, or None.

    >>> [split_named(name) for name in ("Training", "seg_test", "validset", "dev", "test set", "trained", "tester")]
    ['train', 'test', 'validation', 'validation', 'test', None, None]
    """
    words = [word for word in re.split(r"[\W_]+", name.casefold()) if word and word not in _FILLERS]
    if len(words) != 1:
        return None
    joined = _JOINED.fullmatch(words[0])
    return _SYNONYMS.get(joined[1] if joined else words[0])


def read_folders(root: Path) -> LabeledImages:
    """Find the splits, the classes and the files that are or claim to be images.

    Raises:
        DataError: there is no such directory.
    """
    if reason := _why_not_a_folder(root):
        raise DataError(Message("data-path-missing", f"{printable(root)}: {reason}", path=root))
    found = LabeledImages(root.resolve())
    folders = _subfolders(found.root, found)
    splits = _split_folders(folders, found)
    if not splits:
        _read_split(found, UNSPLIT, found.root, folders)
        found.issues += _layout_issues(found, folders)
        return found
    others = [name for name in folders if split_named(name) is None]
    if others:
        found.left_out["folder next to the split folders"] += len(others)
        found.issues.append(Issue("note", "data-beside-splits", (found.root,), {"names": tuple(others)}))
    for split in SPLITS:
        if split in splits:
            _read_split(found, split, splits[split], _subfolders(splits[split], found))
    return found


def images_below(folder: Path) -> tuple[list[Path], list[Issue]]:
    """Find every file below a directory that is or claims to be an image, whatever its folders.

    Returns:
        The files, sorted, and an issue for each directory that cannot be read.
    """
    found = LabeledImages(folder)
    return [Path(path) for path, _ in sorted(_files_below(str(folder), found))], found.issues


def _why_not_a_folder(path: Path) -> str | None:
    try:
        return None if stat.S_ISDIR(path.stat().st_mode) else "is a file; expected a folder of images"
    except (FileNotFoundError, NotADirectoryError, ValueError):
        remedy = "; `cnncli data prepare dogs-vs-cats` creates it" if path.name == "dogs-vs-cats" else ""
        return f"no such folder{remedy}"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _split_folders(folders: Mapping[str, Path], found: LabeledImages) -> dict[str, Path]:
    """Return the split folders by split; none if the folders are classes.

    A folder named like a split may be a class, of vehicles for instance. Split folders hold folders of their own.
    """
    named = {name: split for name in folders if (split := split_named(name))}
    if not named:
        return {}
    holding = [name for name in named if _subfolders(folders[name], LabeledImages(found.root))]
    if not holding and len(named) < len(folders):
        return {}
    splits: dict[str, Path] = {}
    for name, split in named.items():
        if split in splits:
            facts = {"first": splits[split].name, "second": name, "split": split}
            found.issues.append(Issue("error", "data-duplicate-split", (found.root,), facts))
        else:
            splits[split] = folders[name]
    return splits


def _layout_issues(found: LabeledImages, folders: Mapping[str, Path]) -> Iterator[Issue]:
    """Warn of class folders that are probably something else."""
    like_splits = tuple(name for name in folders if split_named(name))
    if like_splits:
        yield Issue("warning", "data-class-named-like-split", (found.root,), {"names": like_splits})
    inside = {name: set(_subfolders(path, LabeledImages(found.root))) for name, path in folders.items()}
    shared = {
        pair: inside[pair[0]] & inside[pair[1]]
        for pair in combinations([name for name in folders if len(inside[name]) > 1], 2)
    }
    repeated = [pair for pair, names in shared.items() if len(names) > 1]
    if repeated:
        labels = tuple(dict.fromkeys(name for pair in repeated for name in pair))
        names = tuple(sorted(set.intersection(*(inside[name] for name in labels)) or shared[repeated[0]]))
        yield Issue("warning", "data-repeated-subfolders", (found.root,), {"labels": labels, "names": names})


def _read_split(found: LabeledImages, split: str, folder: Path, class_folders: Mapping[str, Path]) -> None:
    found.folders[split] = folder
    classes = []
    for label, path in class_folders.items():
        before = found.left_out.copy()
        files = sorted(_files_below(os.fspath(path), found))
        if not files and label.casefold() in _ANNOTATION_FOLDERS:
            found.left_out["folder of annotations"] += 1
            continue
        classes.append(label)
        found.left_out_of_class[split, label] = found.left_out - before
        found.records += [ImageRecord(file, label, split, key=key) for file, key in files]
    found.classes[split] = tuple(classes)


def _subfolders(folder: Path, found: LabeledImages) -> dict[str, Path]:
    """Return the visible folders in a folder by name, sorted; everything else in it is counted as left out."""
    folders: dict[str, Path] = {}
    for entry in _entries(os.fspath(folder), found):
        if reason := _ignored_by_name(entry.name):
            found.left_out[reason] += 1
        elif _is_folder(entry):
            folders[entry.name] = Path(entry.path)
        else:
            reason = _why_not_an_image(entry, _stat_of(entry))
            found.left_out[reason or OUTSIDE_CLASSES] += 1
    return folders


def _files_below(class_folder: str, found: LabeledImages) -> Iterator[tuple[str, StatKey | None]]:
    """Yield the images in a class folder and below it; each folder is entered once, so circular links end."""
    # A link back to the root or above would bring the images of all classes into this one.
    visited = {(facts.st_dev, facts.st_ino) for facts in map(Path.stat, Path(class_folder).parents)}
    # Links are followed after all real folders, so that the path of an image is the one without a link.
    folders, links = [class_folder], list[str]()
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        if not _enter(folder, visited, found):
            continue
        entries = _entries(folder, found)
        if not entries and is_image_name(folder):
            found.left_out["empty folder named like an image"] += 1
        for entry in entries:
            if reason := _ignored_by_name(entry.name):
                found.left_out[reason] += 1
            elif _is_folder(entry):
                (links if entry.is_symlink() else folders).append(entry.path)
            elif reason := _why_not_an_image(entry, file := _stat_of(entry)):
                found.left_out[reason] += 1
            else:
                yield entry.path, stat_key(file) if file else None


def _enter(folder: str, visited: set[tuple[int, int]], found: LabeledImages) -> bool:
    """Return whether a folder is visited for the first time."""
    try:
        facts = Path(folder).stat()
    except OSError as error:
        found.issues.append(_unreadable(folder, str(error.strerror)))
        return False
    if (facts.st_dev, facts.st_ino) in visited:
        found.left_out["link to a folder that was already visited"] += 1
        return False
    visited.add((facts.st_dev, facts.st_ino))
    return True


def _entries(folder: str, found: LabeledImages) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        found.issues.append(_unreadable(folder, f"cannot be listed ({error.strerror})"))
        return []


def _unreadable(folder: str, reason: str) -> Issue:
    return Issue("error", "data-folder-unreadable", (Path(folder),), {"reason": reason})


def _ignored_by_name(name: str) -> str | None:
    """Return the reason for leaving a file or folder out by its name, or None."""
    if name.startswith("."):
        return "hidden file or folder"
    if name.casefold() in _SYSTEM_FOLDERS:
        return f"{name} folder"
    return "system file such as Thumbs.db" if name.lower() in _SYSTEM_FILES else None


def _why_not_an_image(entry: os.DirEntry[str], file: os.stat_result | None) -> str | None:
    """Return the reason for leaving a file out, or None if its name or its first bytes are those of an image."""
    if is_image_name(entry.name):
        return None
    if is_raw_name(entry.name):
        return RAW
    if entry.name.lower().endswith((".heic", ".heif")):
        return HEIC
    if file is None:
        return "broken link"
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
