"""The record of one image, from the first look at a folder to the manifest, and what a label source returns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from cnncli.dataset.issues import Issue
from cnncli.dataset.stat_index import StatKey
from cnncli.errors import Message
from cnncli.images.verify import ImageFacts

SPLITS = ("train", "validation", "test")
UNSPLIT = "all"
"""Split of images whose source does not say which split they belong to."""

_NOT_VERIFIED = ImageFacts("", 0)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a dataset.

    Attributes:
        file: absolute path as text, which takes a quarter of the memory of a `Path`.
        label: name of its class.
        split: train, validation, test, or `UNSPLIT`.
        facts: digest, size and more, once the file has been verified.
        key: identifies the state of the file by its stat; None if it cannot be looked at.
    """

    file: str
    label: str
    split: str
    facts: ImageFacts = _NOT_VERIFIED
    key: StatKey | None = None

    @property
    def path(self) -> Path:
        """Path of the file."""
        return Path(self.file)

    @property
    def digest(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        return self.facts.digest

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self.facts.size_bytes

    @property
    def width(self) -> int:
        """Width in pixels after EXIF orientation."""
        return self.facts.width

    @property
    def height(self) -> int:
        """Height in pixels after EXIF orientation."""
        return self.facts.height

    @property
    def problem(self) -> Message | None:
        """Why the image cannot be used, or None."""
        return self.facts.problem


@dataclass
class LabeledImages:
    """What a label source found.

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

    def class_folder(self, split: str, label: str) -> Path:
        """Return the directory of a class, for messages."""
        return self.folders[split] / label
