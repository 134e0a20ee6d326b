"""Arrange Dogs vs. Cats in any of its published forms into train, validation and test folders of class folders.

Kaggle distributes flat `cat.0.jpg` and `dog.0.jpg` in a folder, a zip or a zip within a zip, Microsoft
`PetImages/Cat/0.jpg` with some damaged files, and courses split folders.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice, product
from pathlib import PurePosixPath

from cnncli.catalogue.datasets import DatasetInfo
from cnncli.dataset.known.images import KnownImage
from cnncli.dataset.known.sources import Files
from cnncli.dataset.labels.folders import split_named
from cnncli.errors import DataError, Message
from cnncli.runtime.random_keys import key_of
from cnncli.storage.image_names import is_image_name

log = logging.getLogger(__name__)

LABELS = ("cats", "dogs")
_FLAT_NAME = re.compile(r"(cat|dog)\.(\d+)(\.jpe?g)", re.IGNORECASE)
_CLASS_FOLDERS = {"cat": "cats", "cats": "cats", "dog": "dogs", "dogs": "dogs"}


def read(files: Files, _info: DatasetInfo) -> list[KnownImage]:
    """Return the cats and dogs of a download, see `label_files`."""
    return label_files(files)


def label_files(names: Iterable[str]) -> list[KnownImage]:
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
        found.append(KnownImage(source, label, split, name))
    return found


def without_copies(good: Iterable[tuple[KnownImage, str]]) -> dict[str, KnownImage]:
    """Return one image of each SHA-256, and report the number of copies."""
    images: dict[str, KnownImage] = {}
    n_copies = 0
    for one, digest in good:
        n_copies += digest in images
        images.setdefault(digest, one)
    if n_copies:
        log.info(Message("data-prepare-copies", f"copies left out: {n_copies:,}", n=n_copies))
    return images


def select_files(good: Mapping[str, KnownImage], sizes: Mapping[str, int], seed: int) -> list[KnownImage]:
    """Draw the images of each split and class with the seed, independent of their names.

    Images that are already in splits stay in them, so that test images are never used for training.

    Raises:
        DataError: There are too few images.
    """
    ranked = [good[digest] for digest in sorted(good, key=lambda digest: key_of("prepare", seed, digest))]
    is_arranged = any(one.split for one in ranked)
    chosen: list[KnownImage] = []
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
            chosen += [replace(one, split=split) for one in islice(unused, sizes[split] // 2)]
    if problems:
        raise DataError(problems)
    return chosen
