"""The record of one image, from the first look at a folder to the manifest, and what a label source returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cnncli.dataset.issues import Issue
from cnncli.images.verify import ImageFacts

SPLITS = ("train", "validation", "test")
UNSPLIT = "all"  # split of images whose source does not say which split they belong to

_NOT_VERIFIED = ImageFacts("", 0)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a dataset.

    Attributes:
        file: absolute path as text, which takes a quarter of the memory of a `Path`.
        label: name of its class.
        split: train, validation, test, or `UNSPLIT`.
        facts: digest, size and more, once the file has been verified.
    """

    file: str
    label: str
    split: str
    facts: ImageFacts = _NOT_VERIFIED

    @property
    def path(self) -> Path:
        """Path of the file."""
        return Path(self.file)

    @property
    def digest(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        return self.facts.digest


def count_images(images: Iterable[ImageRecord], classes: Mapping[str, Iterable[str]]) -> dict[str, dict[str, int]]:
    """Return the number of images of each class in each split, given the classes of each split."""
    found = Counter((one.split, one.label) for one in images)
    return {split: {label: found[split, label] for label in labels} for split, labels in classes.items()}


@dataclass
class LabeledImages:
    """Images and their labels, as a label source found them.

    Attributes:
        root: where the images are, resolved.
        folders: for each split the directory that stands for it in messages; the root for `UNSPLIT`.
        classes: for each split its class names, sorted.
        records: images, not verified, sorted by split, class and path.
        left_out: number of files and folders that were not taken, by reason.
        left_out_of_class: the same for each (split, class).
        issues: problems with the source itself.
    """

    root: Path
    folders: dict[str, Path] = field(default_factory=dict)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    records: list[ImageRecord] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    left_out_of_class: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)

    @property
    def has_splits(self) -> bool:
        """Whether the source assigns images to splits."""
        return UNSPLIT not in self.classes

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names of all splits, sorted."""
        return tuple(sorted({label for labels in self.classes.values() for label in labels}))
