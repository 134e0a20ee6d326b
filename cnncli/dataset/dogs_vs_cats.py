"""Dogs vs. Cats in its published forms, arranged into train, validation and test folders of class folders.

Kaggle has flat `cat.0.jpg` and `dog.0.jpg`, in a folder, a zip or a zip within a zip; Microsoft has
`PetImages/Cat/0.jpg` with some broken files; courses distribute split folders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cnncli.dataset.archive_files import Files
from cnncli.dataset.labels.folders import split_named
from cnncli.dataset.verification import MAX_PIXELS
from cnncli.errors import DataError, ImageError, Message
from cnncli.images.formats import is_image_name, reason_of
from cnncli.images.verify import ImageFacts, verify
from cnncli.runtime.random_keys import key_of
from cnncli.runtime.threads import map_ordered

LABELS = ("cats", "dogs")
_FLAT_NAME = re.compile(r"(cat|dog)\.(\d+)(\.jpe?g)", re.IGNORECASE)
_CLASS_FOLDERS = {"cat": "cats", "cats": "cats", "dog": "dogs", "dogs": "dogs"}
LONGEST_STEM = 60
"""Maximum length of a file name without its suffix; file systems limit a name to 255 bytes."""


@dataclass(frozen=True)
class LabeledFile:
    """A file of the download that should be a cat or a dog.

    Attributes:
        source: its name in the download.
        label: cats or dogs.
        split: the split in which it is already, or None.
        name: its new name: cat.0.jpg, as from Kaggle.
    """

    source: str
    label: str
    split: str | None
    name: str


@dataclass(frozen=True)
class VerifiedFiles:
    """Verified images of a download.

    Attributes:
        good: readable images without copies, with their digests.
        broken: names of unreadable images with the reason, sorted.
        n_copies: number of files left out because an earlier one is identical.
    """

    good: tuple[tuple[LabeledFile, str], ...]
    broken: tuple[tuple[str, Message], ...]
    n_copies: int


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Raise DataError with a message for each size that is odd."""
    odd = [split for split, n in sizes.items() if n % 2]
    if odd:
        texts = {
            split: f"--{split} {sizes[split]}: expected an even number, half of it for each class" for split in odd
        }
        raise DataError([Message("data-prepare-odd-size", text, key=split) for split, text in texts.items()])


def label_files(names: Iterable[str]) -> list[LabeledFile]:
    """Return the cats and dogs among the names of a download, sorted by name.

    >>> [(one.label, one.name) for one in label_files(["train/dog.7.jpg", "PetImages/Cat/3.jpg", "test1/9.jpg"])]
    [('cats', 'cat.3.jpg'), ('dogs', 'dog.7.jpg')]
    """
    found = [_label_file(name) for name in sorted(names)]
    return [one for one in found if one is not None]


def verify_files(
    files: Files, found: Sequence[LabeledFile], progress: Callable[[int], None] | None = None
) -> VerifiedFiles:
    """Read and fully decode every file once."""
    good: list[tuple[LabeledFile, str]] = []
    broken: list[tuple[str, Message]] = []
    known: set[str] = set()
    facts = map_ordered(lambda one: _facts(files, one), found)
    for done, (one, fact) in enumerate(zip(found, facts, strict=True), 1):
        if fact.problem is not None:
            broken.append((one.source, fact.problem))
        elif fact.digest not in known:
            good.append((one, fact.digest))
            known.add(fact.digest)
        if progress:
            progress(done)
    return VerifiedFiles(tuple(good), tuple(broken), len(found) - len(good) - len(broken))


def select_files(
    good: Iterable[tuple[LabeledFile, str]], sizes: Mapping[str, int], seed: int
) -> dict[tuple[str, str], list[LabeledFile]]:
    """Draw the images of each split and class with the seed; names do not matter.

    Images that are in splits already stay in them, so that nobody trains on the test images of others.

    Args:
        good: images with their digests.
        sizes: even number of images of each split, half of each class.
        seed: another seed draws others.

    Returns:
        Images by split and class.

    Raises:
        DataError: there are too few.
    """
    ranked = [one for one, _ in sorted(good, key=lambda pair: key_of("prepare", seed, pair[1]))]
    is_arranged = any(one.split for one in ranked)
    chosen: dict[tuple[str, str], list[LabeledFile]] = {}
    problems: list[Message] = []
    for label in LABELS:
        pool = [one for one in ranked if one.label == label]
        if not is_arranged and len(pool) < sum(sizes.values()) // 2:
            problems.append(_too_few(label, "", sum(sizes.values()) // 2, len(pool)))
        for split, n in sizes.items():
            free = [one for one in pool if one.split == split] if is_arranged else pool
            if is_arranged and len(free) < n // 2:
                problems.append(_too_few(label, f" for {split}", n // 2, len(free)))
            chosen[split, label] = free[: n // 2]
            pool = pool if is_arranged else pool[n // 2 :]
    if problems:
        raise DataError(problems)
    return chosen


def _too_few(label: str, where: str, needed: int, available: int) -> Message:
    text = f"{needed:,} {label} are needed{where}, but there are {available:,}"
    return Message("data-prepare-too-few", text, label=label, expected=needed, received=available)


def write_files(files: Files, chosen: Mapping[tuple[str, str], Sequence[LabeledFile]], folder: Path) -> None:
    """Write the selected images below a folder, with safe names."""
    for (split, label), images in chosen.items():
        if not images:
            continue
        target = folder / split / label
        target.mkdir(parents=True)
        for one, name in zip(images, _unique(one.name for one in images), strict=True):
            (target / name).write_bytes(files[one.source]())


def _label_file(source: str) -> LabeledFile | None:
    *folders, name = PurePosixPath(source).parts
    above = folders[-1].lower() if folders else ""
    if flat := _FLAT_NAME.fullmatch(name):
        label = _CLASS_FOLDERS[flat[1].lower()]
    elif above in _CLASS_FOLDERS and is_image_name(name):
        label = _CLASS_FOLDERS[above]
        name = f"{label[:-1]}.{name}"
    else:
        return None
    split = split_named(folders[-2]) if len(folders) > 1 and above in _CLASS_FOLDERS else None
    return LabeledFile(source, label, split, name)


def _facts(files: Files, one: LabeledFile) -> ImageFacts:
    try:
        return verify(files[one.source](), MAX_PIXELS)
    except ImageError as error:
        return ImageFacts("", 0, problem=reason_of(error))


def _unique(names: Iterable[str]) -> Iterator[str]:
    """Yield the names, shortened if they are long, and numbered if one occurs again in upper or lower case."""
    taken: set[str] = set()
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        stem, number = stem[:LONGEST_STEM], 2
        unique = f"{stem}{dot}{suffix}"
        while unique.lower() in taken:
            unique, number = f"{stem}-{number}{dot}{suffix}", number + 1
        taken.add(unique.lower())
        yield unique
