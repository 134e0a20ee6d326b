"""Class folders as a label source, with or without split folders above them.

No image is decoded here. Files that are not images are left out and counted by reason.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from cnncli.dataset.issues import Issue, error, note, warning
from cnncli.dataset.records import SPLITS, UNSPLIT, ImageRecord, LabeledImages
from cnncli.errors import DataError, Message, printable, reason_of
from cnncli.images.formats import (
    ARRAY_SUFFIX,
    EXTRA_FORMATS,
    RAW_SUFFIXES,
    SIGNATURE_BYTES,
    extra_format_named,
    format_of,
    is_readable,
)
from cnncli.runs.folder import RunFolder, runs_dir_from
from cnncli.storage.image_names import is_image_name

OUTSIDE_CLASSES = "image outside the class folders"
RAW = "camera RAW file"
RUN = "run of cnncli"

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


def read_folders(root: Path, reads_arrays: bool = False) -> LabeledImages:
    """Find the splits, the classes, and all files that look like images.

    NumPy arrays are images only on request.

    Raises:
        DataError: There is no such folder.
    """
    try:
        os.scandir(root).close()
    except (OSError, ValueError) as problem:
        remedy = "; `cnncli data prepare dogs-vs-cats` creates it" if root.name == "dogs-vs-cats" else ""
        if root.suffix.lower() in (".yaml", ".yml") and root.is_file():
            config = printable(shlex.quote(str(root)))
            remedy = (
                f"; it is a config: `cnncli config validate {config}` checks it, and `cnncli data check` its data.path"
            )
        text = f"{printable(root)}: cannot be read as a folder ({reason_of(problem)}){remedy}"
        raise DataError(Message("data-path-missing", text, path=root)) from None
    found = LabeledImages(root.resolve(), reads_arrays=reads_arrays)
    folders = _subfolders(found.root, found)
    splits = choose_splits(found, folders, lambda name: bool(folder_names(folders[name])))
    if not splits:
        _read_split(found, UNSPLIT, found.root, folders)
        found.issues += layout_issues(found.root, {label: folder_names(path) for label, path in folders.items()})
        return found
    for split in SPLITS:
        if split in splits:
            folder = folders[splits[split]]
            _read_split(found, split, folder, _subfolders(folder, found))
    return found


def choose_splits(found: LabeledImages, names: Iterable[str], has_folders: Callable[[str], bool]) -> dict[str, str]:
    """Return the name of the folder of each split, or nothing if the folders are classes.

    A folder named like a split can be a class, e.g. of vehicles. Split folders contain folders. Other folders next to
    them, and a second folder of a split, are issues.
    """
    others = tuple(name for name in names if split_named(name) is None)
    named = {name: split for name in names if (split := split_named(name))}
    if others and not any(map(has_folders, named)):
        return {}
    splits: dict[str, str] = {}
    for name, split in named.items():
        if split in splits:
            first = splits[split]
            found.issues.append(error("data-duplicate-split", found.root, first=first, second=name, split=split))
        splits.setdefault(split, name)
    if splits and others:
        found.left_out["folder next to the split folders"] += len(others)
        found.issues.append(note("data-beside-splits", found.root, names=others))
    return splits


def divide_names(found: LabeledImages, separator: str) -> None:
    """Make the parts of a class folder's name the labels of its images, such as red and dress of red_dress."""
    found.records = [replace(one, labels=labels_in(one.label, separator)) for one in found.records]
    for split, names in found.classes.items():
        found.classes[split] = tuple(sorted({label for name in names for label in labels_in(name, separator)}))
    left_out: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (split, name), reasons in found.left_out_of_class.items():
        left_out[split, ", ".join(labels_in(name, separator))] += reasons
    found.left_out_of_class = left_out


def labels_in(text: str, separator: str) -> tuple[str, ...]:
    """Return the labels in a text, sorted, without repetitions and surrounding spaces.

    >>> labels_in("red; dress;", ";")
    ('dress', 'red')
    """
    return tuple(sorted({part.strip() for part in text.split(separator)} - {""}))


def images_below(folder: Path, reads_arrays: bool = False) -> tuple[list[Path], list[Issue]]:
    """Find every file below a folder that looks like an image.

    Returns:
        The files, sorted, and an issue for each folder that cannot be read.
    """
    found = LabeledImages(folder, reads_arrays=reads_arrays)
    files = [Path(path) for path in sorted(files_below(folder, found))]
    return files, [*found.issues, *missing_readers(found)]


def missing_readers(found: LabeledImages) -> Iterator[Issue]:
    """Yield a warning for each format of which images were left out because its reader is not installed."""
    for kind, one in EXTRA_FORMATS.items():
        if n := found.left_out[_image_of_kind(kind)]:
            reason = f"{n:,} {kind} images are left out; {one.project} reads them. Install it with: {one.command}"
            yield warning("data-reader-not-installed", found.root, reason=reason, n=n, expected=one.project)


def folder_names(folder: Path) -> set[str]:
    """Return the names of the visible folders in a folder."""
    return set(_subfolders(folder, LabeledImages(folder)))


def layout_issues(root: Path, inside: Mapping[str, set[str]]) -> Iterator[Issue]:
    """Warn of class folders, given with the names of the folders in them, that suggest a different layout."""
    if names := tuple(name for name in inside if split_named(name)):
        yield warning("data-class-named-like-split", root, names=names)
    counts = Counter(name for names in inside.values() for name in names)
    repeated = {name for name, n in counts.items() if n > 1}
    labels = tuple(label for label, names in inside.items() if len(names & repeated) > 1)
    if len(labels) > 1:
        yield warning("data-repeated-subfolders", root, labels=labels, names=tuple(sorted(repeated)))


def _read_split(found: LabeledImages, split: str, folder: Path, class_folders: Mapping[str, Path]) -> None:
    found.folders[split] = folder
    classes = []
    for label, path in class_folders.items():
        before = found.left_out.copy()
        if _is_run(path):
            found.left_out[RUN] += 1
            continue
        files = sorted(files_below(path, found))
        if not files and label.casefold() in _ANNOTATION_FOLDERS:
            found.left_out["folder of annotations"] += 1
            continue
        if not files and ((found.left_out - before)[RUN] or path == runs_dir_from(None).resolve()):
            continue
        classes.append(label)
        found.left_out_of_class[split, label] = found.left_out - before
        labels = (label,)
        found.records += [ImageRecord(file, labels, split) for file in files]
    found.classes[split] = tuple(classes)


def _subfolders(folder: Path, found: LabeledImages) -> dict[str, Path]:
    """Return the visible folders in a folder by name, sorted; count all other entries as left out."""
    folders: dict[str, Path] = {}
    for entry in _entries(os.fspath(folder), found):
        if _is_folder(entry):
            folders[entry.name] = Path(entry.path)
        else:
            found.left_out[_why_not_an_image(entry) or OUTSIDE_CLASSES] += 1
    return folders


def files_below(folder: Path, found: LabeledImages) -> Iterator[str]:
    """Yield all images below a folder. Each folder is visited once, so circular links are harmless."""
    # A link to the root or above would add the images of all classes to this class.
    visited = {os.path.realpath(parent) for parent in folder.parents}
    # Links are followed after all real folders, so that images get a path without links if they have one.
    folders, links = [os.fspath(folder)], list[str]()
    while folders or links:
        path = (folders or links).pop()
        if (real := os.path.realpath(path)) in visited:
            found.left_out["link to a folder that was already visited"] += 1
            continue
        visited.add(real)
        if path != os.fspath(folder) and _is_run(Path(path)):  # its figures are not images of the data
            found.left_out[RUN] += 1
            continue
        is_empty = True
        for entry in _entries(path, found):
            is_empty = False
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append(entry.path)
            elif found.reads_arrays and entry.name.lower().endswith(ARRAY_SUFFIX):
                yield entry.path
            elif reason := _why_not_an_image(entry):
                found.left_out[reason] += 1
            else:
                yield entry.path
        if is_empty and is_image_name(path):
            found.left_out["empty folder named like an image"] += 1


def _entries(folder: str, found: LabeledImages) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder, sorted; count those ignored by name as left out."""
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as problem:
        text = f"cannot be listed ({problem.strerror})"
        found.issues.append(error("data-folder-unreadable", Path(folder), reason=text))
        return
    for entry in entries:
        if reason := why_ignored(entry.name):
            found.left_out[reason] += 1
        else:
            yield entry


def why_ignored(name: str) -> str:
    """Return the reason for leaving out a file or folder because of its name, or an empty text.

    >>> [why_ignored(name) for name in ("._1.jpg", "__MACOSX", "1.jpg")]
    ['hidden file or folder', '__MACOSX folder', '']
    """
    if name.startswith("."):
        return "hidden file or folder"
    if name.casefold() in _SYSTEM_FOLDERS:
        return f"{name} folder"
    return "system file such as Thumbs.db" if name.casefold() in _SYSTEM_FILES else ""


def _why_not_an_image(entry: os.DirEntry[str]) -> str | None:
    """Return the reason for leaving a file out, or None if its name or its first bytes are those of an image."""
    if is_image_name(entry.name):
        return None
    if entry.name.lower().endswith(RAW_SUFFIXES):
        return RAW
    if (kind := extra_format_named(entry.name)) is not None:
        return None if is_readable(kind) else _image_of_kind(kind)
    path = Path(entry.path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "not a regular file"
        with path.open("rb", buffering=0) as content:
            kind = format_of(content.read(SIGNATURE_BYTES))
    except OSError:
        return "broken link" if entry.is_symlink() else "cannot be opened"
    return None if is_readable(kind) else _image_of_kind(kind) if kind else "not an image"


def _image_of_kind(kind: str) -> str:
    """Return the reason for leaving out an image whose reader is not installed."""
    return f"{kind} image"


def _is_run(folder: Path) -> bool:
    run = RunFolder(folder)
    return run.facts.is_file() and run.manifest.is_file()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself
