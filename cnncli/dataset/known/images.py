"""The labeled images of a download: verify them, keep those of test out of train, draw validation, write files."""

from __future__ import annotations

import hashlib
import io
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnncli.catalogue.datasets import DatasetInfo
from cnncli.dataset.known.sources import Files
from cnncli.dataset.split import draw_splits
from cnncli.errors import DataError, Message, printable, reason_of
from cnncli.images.limits import MAX_PIXELS
from cnncli.images.verify import ImageFacts, verify
from cnncli.runtime.random_keys import key_of
from cnncli.runtime.threads import map_ordered
from cnncli.storage.zips import ARCHIVE_ERRORS
from cnncli.terminal.console import Console

log = logging.getLogger(__name__)

LARGEST_FILE = 2**25  # maximum size of an image in bytes; no dataset has a larger one
LONGEST_STEM = 60  # maximum length of a file name without its suffix; file systems limit a name to 255 bytes


@dataclass(frozen=True)
class KnownImage:
    """An image of a download with its label.

    Attributes:
        source: Name of its file in the download, with a number if the file contains several images.
        label: Name of its class folder.
        split: Published split, or None if there is none.
        name: Name of the file to write, such as `cat.0.jpg`.
        pixels: uint8, shape (height, width) or (height, width, 3), if the download has arrays and not image files.
    """

    source: str
    label: str
    split: str | None
    name: str
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)


def of_arrays(
    info: DatasetInfo, source: str, split: str, pixels: NDArray[np.uint8], labels: NDArray[Any], first: int = 0
) -> list[KnownImage]:
    """Return the images of two arrays: pixels of shape (n, height, width) or (n, height, width, 3), labels (n,).

    Args:
        info: The dataset, whose classes the labels count from 0.
        source: Name of the file.
        split: Their split.
        pixels: The images.
        labels: Their labels.
        first: Number of the first image in its split, for the names.

    Raises:
        DataError: The numbers of images and labels differ, or a label is not in the range of the classes.
    """
    n = len(info.classes)
    if len(labels) != len(pixels):
        raise damaged(source, f"{len(pixels):,} images, but {len(labels):,} labels")
    if len(labels) and not 0 <= labels.min() <= labels.max() < n:
        raise damaged(source, f"labels from {labels.min()} to {labels.max()}, expected 0 to {n - 1}")
    return [
        KnownImage(f"{source}[{k}]", info.classes[label], split, f"{first + k:05}.png", image)
        for k, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True))
    ]


def damaged(source: str, reason: str) -> DataError:
    """Return the error for a file of a download that is not as its format requires."""
    text = f"{printable(source)}: is damaged, or not the file that its name says: {reason}"
    return DataError(Message("data-prepare-damaged", text, path=source, reason=reason))


def take(found: Sequence[KnownImage], limit: int | None, seed: int) -> Sequence[KnownImage]:
    """Return at most `limit` images of each split and class, drawn with the seed, in their order."""
    if limit is None:
        return found
    ranked = sorted(found, key=lambda one: key_of("limit", seed, one.name))
    counts: Counter[tuple[str | None, str]] = Counter()
    taken = set()
    for one in ranked:
        counts[one.split, one.label] += 1
        if counts[one.split, one.label] <= limit:
            taken.add(one)
    return [one for one in found if one in taken]


def verify_images(files: Files, found: Sequence[KnownImage], console: Console) -> Iterator[tuple[KnownImage, str]]:
    """Read and fully decode every image once; yield readable ones with their SHA-256, and report the others."""
    with console.progress(len(found), "verifying") as bar:
        for one, facts in zip(found, map_ordered(lambda one: _facts(files, one), found), strict=True):
            if facts.problem is None:
                yield one, facts.digest
            else:
                text = f"{printable(one.source)}: {facts.problem}; left out"
                log.warning(Message("data-prepare-left-out", text, path=one.source, reason=facts.problem))
            bar.advance()


def _facts(files: Files, one: KnownImage) -> ImageFacts:
    if one.pixels is not None:
        return ImageFacts(hashlib.sha256(one.pixels.tobytes()).hexdigest(), one.pixels.nbytes)
    try:
        content = files[one.source](LARGEST_FILE)
    except ARCHIVE_ERRORS as error:
        return ImageFacts("", 0, problem=Message("image-damaged", f"cannot be read ({reason_of(error)})"))
    return verify(content, MAX_PIXELS)


def keep_splits_apart(good: Iterable[tuple[KnownImage, str]]) -> list[tuple[KnownImage, str]]:
    """Leave out images of train whose pixels another split contains, so that test is as published; report them."""
    images = list(good)
    elsewhere = {digest for one, digest in images if one.split != "train"}
    kept = [(one, digest) for one, digest in images if one.split != "train" or digest not in elsewhere]
    if n := len(images) - len(kept):
        text = f"copies of test images left out of train: {n:,}"
        log.info(Message("data-prepare-copies", text, n=n))
    return kept


def draw_validation(images: Sequence[tuple[KnownImage, str]], amount: float, seed: int) -> list[KnownImage]:
    """Move images of train to validation: a stratified draw, in which copies stay together.

    Without published splits, all other images become train.

    Args:
        images: Images with the SHA-256 of their pixels or bytes.
        amount: Fraction of train below 1, or number of images.
        seed: Seed of the draw.

    Raises:
        DataError: Train would lose all its images.
    """
    if not amount:
        return [one for one, _ in images]
    train = [(replace(one, split="train"), digest) for one, digest in images if one.split in (None, "train")]
    if amount >= len(train):
        text = f"--validation {amount:g}: expected fewer than the {len(train):,} images of train"
        raise DataError(Message("data-prepare-too-few", text, expected=amount, received=len(train)))
    fraction = amount if amount < 1 else amount / len(train)
    digests, labels = [digest for _, digest in train], [(one.label,) for one, _ in train]
    drawn = draw_splits(digests, labels, {"validation": fraction}, seed)
    rest = [one for one, _ in images if one.split not in (None, "train")]
    return [*(replace(one, split=split) for (one, _), split in zip(train, drawn, strict=True)), *rest]


def write_images(files: Files, chosen: Sequence[KnownImage], folder: Path, console: Console) -> None:
    """Write images to split and class folders below a folder, with safe names; arrays become PNG files."""
    by_folder = defaultdict(list)
    for one in chosen:
        by_folder[folder / (one.split or "") / one.label].append(one)
    targets: list[tuple[Path, KnownImage]] = []
    for parent, images in by_folder.items():
        parent.mkdir(parents=True)
        names = _unique(one.name for one in images)
        targets += [(parent / name, one) for name, one in zip(names, images, strict=True)]

    def write(target: tuple[Path, KnownImage]) -> None:
        path, one = target
        path.write_bytes(files[one.source](LARGEST_FILE) if one.pixels is None else _png(one.pixels))

    with console.progress(len(targets), "writing") as bar:
        for _ in map_ordered(write, targets):
            bar.advance()


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


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
