"""Dogs vs. Cats in the forms it is handed around in, arranged into train, validation and test of class folders.

Kaggle has flat `cat.0.jpg` and `dog.0.jpg`, in a folder, a zip or a zip within a zip; Microsoft has
`PetImages/Cat/0.jpg` with some broken files among them; courses hand it out arranged already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cnncli.dataset.archive_files import Files
from cnncli.dataset.inventory import MAX_PIXELS
from cnncli.dataset.scan import SPLIT_NAMES
from cnncli.errors import DataError, ImageError
from cnncli.images.formats import is_image_name, reason_of
from cnncli.images.verify import ImageFacts, verify_bytes
from cnncli.runtime.random_keys import key_of
from cnncli.runtime.threads import map_ordered

LABELS = ("cats", "dogs")
_FLAT_NAME = re.compile(r"(cat|dog)\.(\d+)(\.jpe?g)", re.IGNORECASE)
_CLASS_FOLDERS = {"cat": "cats", "cats": "cats", "dog": "dogs", "dogs": "dogs"}
LONGEST_STEM = 60
"""Characters of a file's name without its suffix: no file system takes more than 255 bytes of a name."""


@dataclass(frozen=True)
class Labelled:
    """A file of the download that is meant to be a cat or a dog.

    Attributes:
        source: its name in the download.
        label: cats or dogs.
        split: where it lies already, or None.
        name: what it will be called: cat.0.jpg, as at Kaggle's.
    """

    source: str
    label: str
    split: str | None
    name: str


@dataclass(frozen=True)
class Sorted:
    """The verified images of a download.

    Attributes:
        good: readable and different from each other, with their digests.
        broken: names of the others with the reason, sorted.
        n_copies: files left out because an earlier one is the same.
    """

    good: tuple[tuple[Labelled, str], ...]
    broken: tuple[tuple[str, str], ...]
    n_copies: int


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Raise DataError, a line each, for sizes that are no two equal halves."""
    odd = [split for split, n in sizes.items() if n % 2]
    if odd:
        raise DataError(
            [f"--{split} {sizes[split]}: an even number is needed, half of it of each class" for split in odd]
        )


def labelled(names: Iterable[str]) -> list[Labelled]:
    """The cats and dogs among the names of a download, sorted by name; the rest is left out.

    >>> [(one.label, one.name) for one in labelled(["train/dog.7.jpg", "PetImages/Cat/3.jpg", "test1/9.jpg"])]
    [('cats', 'cat.3.jpg'), ('dogs', 'dog.7.jpg')]
    """
    found = [_labelled(name) for name in sorted(names)]
    return [one for one in found if one is not None]


def sorted_out(files: Files, found: Sequence[Labelled], progress: Callable[[int], None] | None = None) -> Sorted:
    """Read and fully decode every file once."""
    good: list[tuple[Labelled, str]] = []
    broken: list[tuple[str, str]] = []
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
    return Sorted(tuple(good), tuple(broken), len(found) - len(good) - len(broken))


def choose(
    good: Iterable[tuple[Labelled, str]], sizes: Mapping[str, int], seed: int
) -> dict[tuple[str, str], list[Labelled]]:
    """Draw the images of each split and class by the seed, from their bytes and not their names.

    What lies in splits already is drawn from there, so that nobody trains on what others test with.

    Args:
        good: images with their digests.
        sizes: even number of images of each split, half of each class.
        seed: another seed draws others.
    Raises: DataError: there are too few.
    """
    ranked = [one for one, _ in sorted(good, key=lambda pair: key_of("prepare", seed, pair[1]))]
    is_arranged = any(one.split for one in ranked)
    chosen: dict[tuple[str, str], list[Labelled]] = {}
    problems: list[str] = []
    for label in LABELS:
        pool = [one for one in ranked if one.label == label]
        if not is_arranged and len(pool) < sum(sizes.values()) // 2:
            problems.append(f"{sum(sizes.values()) // 2:,} {label} are needed, and there are {len(pool):,}")
        for split, n in sizes.items():
            free = [one for one in pool if one.split == split] if is_arranged else pool
            if is_arranged and len(free) < n // 2:
                problems.append(f"{n // 2:,} {label} are needed for {split}, and there are {len(free):,}")
            chosen[split, label] = free[: n // 2]
            pool = pool if is_arranged else pool[n // 2 :]
    if problems:
        raise DataError(problems)
    return chosen


def write_arranged(files: Files, chosen: Mapping[tuple[str, str], Sequence[Labelled]], folder: Path) -> None:
    """Write the chosen images below a folder, under names of ours alone."""
    for (split, label), images in chosen.items():
        if not images:
            continue
        target = folder / split / label
        target.mkdir(parents=True)
        for one, name in zip(images, _unique(one.name for one in images), strict=True):
            (target / name).write_bytes(files[one.source]())


def _labelled(source: str) -> Labelled | None:
    *folders, name = PurePosixPath(source).parts
    above = folders[-1].lower() if folders else ""
    if flat := _FLAT_NAME.fullmatch(name):
        label = _CLASS_FOLDERS[flat[1].lower()]
    elif above in _CLASS_FOLDERS and is_image_name(name):
        label = _CLASS_FOLDERS[above]
        name = f"{label[:-1]}.{name}"
    else:
        return None
    split = SPLIT_NAMES.get(folders[-2].lower()) if len(folders) > 1 and above in _CLASS_FOLDERS else None
    return Labelled(source, label, split, name)


def _facts(files: Files, one: Labelled) -> ImageFacts:
    try:
        return verify_bytes(files[one.source](), one.source, MAX_PIXELS)
    except ImageError as error:
        return ImageFacts("", 0, problem=reason_of(error))


def _unique(names: Iterable[str]) -> Iterator[str]:
    """The names, cut where they are long, and numbered where one comes again, in upper or lower case."""
    taken: set[str] = set()
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        stem, number = stem[:LONGEST_STEM], 2
        unique = f"{stem}{dot}{suffix}"
        while unique.lower() in taken:
            unique, number = f"{stem}-{number}{dot}{suffix}", number + 1
        taken.add(unique.lower())
        yield unique
