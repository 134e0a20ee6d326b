"""Arrange Dogs vs. Cats in any of its published forms into train, validation and test folders of class folders.

Kaggle distributes flat `cat.0.jpg` and `dog.0.jpg` in a folder, a zip or a zip within a zip, Microsoft
`PetImages/Cat/0.jpg` with some damaged files, and courses split folders.
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from pathlib import Path, PurePosixPath

from cnncli.dataset.labels.folders import split_named
from cnncli.errors import DataError, Message, printable, reason_of
from cnncli.images.formats import is_image_name
from cnncli.images.limits import MAX_PIXELS
from cnncli.images.verify import ImageFacts, verify
from cnncli.runtime.random_keys import key_of
from cnncli.runtime.threads import map_ordered
from cnncli.storage.safe_io import read_bytes
from cnncli.storage.zips import ARCHIVE_ERRORS, ArchiveRefusedError, most_unpacked, open_zip, read_entry, unpack_entry
from cnncli.terminal.console import Console

log = logging.getLogger(__name__)

LABELS = ("cats", "dogs")
_FLAT_NAME = re.compile(r"(cat|dog)\.(\d+)(\.jpe?g)", re.IGNORECASE)
_CLASS_FOLDERS = {"cat": "cats", "cats": "cats", "dog": "dogs", "dogs": "dogs"}
LONGEST_STEM = 60  # maximum length of a file name without its suffix; file systems limit a name to 255 bytes
LARGEST_FILE = 2**25  # maximum size of a file in bytes; a larger one is not a photograph of a pet
MOST_FILES, MOST_ZIPS = 500_000, 100  # limits of a download; Kaggle's has 37,500 images in two zips

_UNLABELED = "test"  # Kaggle packs its unlabeled test images in a separate zip

# Functions that read each file, by its name in the download with `/` as separator.
Files = Mapping[str, Callable[[], bytes]]


@dataclass(frozen=True)
class LabeledFile:
    """A file of the download whose name is that of a cat or a dog."""

    source: str  # its name in the download
    label: str
    split: str | None  # the split in which it is already
    name: str  # its new name, such as cat.0.jpg, as from Kaggle


@contextmanager
def files_of(source: Path, scratch: Path) -> Iterator[Files]:
    """Yield the files of a folder or zip. Reading an unreadable file raises one of `ARCHIVE_ERRORS`.

    Hidden files are skipped. Zips inside the zip are unpacked into the folder `scratch`.

    Raises:
        DataError: The source does not exist or is not a zip.
    """
    with ExitStack() as archives:
        try:
            files = _files_in_folder(source) if source.is_dir() else _files_in_zip(source, "", scratch, archives)
        except FileNotFoundError:
            raise DataError(Message("data-path-missing", f"{printable(source)}: no such file", path=source)) from None
        except ARCHIVE_ERRORS as error:
            text = f"{printable(source)}: is not a zip of a dataset, or the download is incomplete ({reason_of(error)})"
            raise DataError(Message("data-prepare-not-a-zip", text, path=source)) from None
        yield files


def label_files(names: Iterable[str]) -> list[LabeledFile]:
    """Return the cats and dogs among the names of a download, sorted by name.

    >>> [(one.label, one.name) for one in label_files(["train/dog.7.jpg", "PetImages/Cat/3.jpg", "test1/9.jpg"])]
    [('cats', 'cat.3.jpg'), ('dogs', 'dog.7.jpg')]
    """
    found = []
    for source in sorted(names):
        *folders, name = PurePosixPath(source).parts
        above = folders[-1].lower() if folders else ""
        if flat := _FLAT_NAME.fullmatch(name):
            label = _CLASS_FOLDERS[flat[1].lower()]
        elif above in _CLASS_FOLDERS and is_image_name(name):
            label = _CLASS_FOLDERS[above]
            name = f"{label[:-1]}.{name}"
        else:
            continue
        split = split_named(folders[-2]) if len(folders) > 1 and above in _CLASS_FOLDERS else None
        found.append(LabeledFile(source, label, split, name))
    return found


def verify_files(files: Files, found: Sequence[LabeledFile], console: Console) -> dict[str, LabeledFile]:
    """Read and fully decode every file once; return readable files by SHA-256, and report the others."""
    good: dict[str, LabeledFile] = {}
    n_copies = 0
    with console.progress(len(found), "images") as bar:
        for one, facts in zip(found, map_ordered(lambda one: _facts(files, one), found), strict=True):
            if facts.problem is not None:
                text = f"{printable(one.source)}: {facts.problem}; left out"
                log.warning(Message("data-prepare-left-out", text, path=one.source, reason=facts.problem))
            elif facts.digest in good:
                n_copies += 1
            else:
                good[facts.digest] = one
            bar.advance()
    if n_copies:
        log.info(Message("data-prepare-copies", f"copies left out: {n_copies:,}", n=n_copies))
    return good


def select_files(
    good: Mapping[str, LabeledFile], sizes: Mapping[str, int], seed: int
) -> dict[tuple[str, str], list[LabeledFile]]:
    """Draw the images of each split and class with the seed, independent of their names.

    Images that are already in splits stay in them, so that test images are never used for training.

    Raises:
        DataError: There are too few images.
    """
    ranked = [good[digest] for digest in sorted(good, key=lambda digest: key_of("prepare", seed, digest))]
    is_arranged = any(one.split for one in ranked)
    chosen: dict[tuple[str, str], list[LabeledFile]] = {}
    problems: list[Message] = []
    shared_pools = [(split,) for split in sizes] if is_arranged else [tuple(sizes)]
    for label, splits in product(LABELS, shared_pools):
        pool = [one for one in ranked if one.label == label and (one.split in splits or not is_arranged)]
        needed = sum(sizes[split] // 2 for split in splits)
        if len(pool) < needed:
            text = f"too few {label} for {', '.join(splits)}: needed {needed:,}, available {len(pool):,}"
            facts = {"label": label, "expected": needed, "received": len(pool)}
            problems.append(Message("data-prepare-too-few", text, **facts))
        unused = iter(pool)
        for split in splits:
            chosen[split, label] = list(islice(unused, sizes[split] // 2))
    if problems:
        raise DataError(problems)
    return chosen


def write_files(files: Files, chosen: Mapping[tuple[str, str], Sequence[LabeledFile]], folder: Path) -> None:
    """Write the selected images below a folder, with safe names."""
    for (split, label), images in chosen.items():
        names = _unique(one.name for one in images)
        for one, name in zip(images, names, strict=True):
            target = folder / split / label / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(files[one.source]())


def _facts(files: Files, one: LabeledFile) -> ImageFacts:
    try:
        content = files[one.source]()
    except ARCHIVE_ERRORS as error:
        return ImageFacts("", 0, problem=Message("image-damaged", f"cannot be read ({reason_of(error)})"))
    return verify(content, MAX_PIXELS)


def _unique(names: Iterable[str]) -> Iterator[str]:
    """Yield the names, shortened if they are long, and numbered if they repeat (ignoring case)."""
    taken: set[str] = set()
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        stem, number = stem[:LONGEST_STEM], 2
        unique = f"{stem}{dot}{suffix}"
        while unique.lower() in taken:
            unique, number = f"{stem}-{number}{dot}{suffix}", number + 1
        taken.add(unique.lower())
        yield unique


def _files_in_folder(source: Path) -> Files:
    paths = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if not path.is_dir()}
    return {name: partial(read_bytes, path, LARGEST_FILE) for name, path in paths.items() if _is_visible(name)}


def _files_in_zip(source: Path, prefix: str, scratch: Path, archives: ExitStack) -> Files:
    archive = archives.enter_context(open_zip(source))
    files: dict[str, Callable[[], bytes]] = {}
    for entry in archive.infolist():
        name = entry.filename.replace("\\", "/")
        if entry.is_dir() or not _is_visible(name):
            continue
        inner = PurePosixPath(name)
        if inner.suffix.lower() != ".zip":
            files[prefix + name] = partial(read_entry, archive, entry, LARGEST_FILE)
        elif not prefix and not inner.stem.lower().startswith(_UNLABELED):
            files.update(_files_in_zip(_unpack(archive, entry, scratch, source), f"{name}/", scratch, archives))
        if len(files) > MOST_FILES:
            raise ArchiveRefusedError(f"it has more than {MOST_FILES:,} files")
    return files


def _is_visible(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" not in parts and not any(part.startswith(".") and part not in (".", "..") for part in parts)


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, scratch: Path, source: Path) -> Path:
    """Unpack a zip inside a zip to a file with a safe name."""
    others = [path.stat().st_size for path in scratch.iterdir()]
    if len(others) == MOST_ZIPS:
        raise ArchiveRefusedError(f"it has more than {MOST_ZIPS} zips")
    path = scratch / f"{len(others)}.zip"
    with path.open("wb") as file:
        unpack_entry(archive, entry, file, most_unpacked(source.stat().st_size) - sum(others))
    return path
