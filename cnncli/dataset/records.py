"""The record of an image, used from the first scan to the manifest, and the result of a label source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cnncli.dataset.issues import Issue
from cnncli.images.verify import ImageFacts

SPLITS = ("train", "validation", "test")
UNSPLIT = "all"  # split of images whose source does not say which split they belong to
LABEL_SEPARATOR = ";"  # between the labels of an image in manifest.csv

NOT_VERIFIED = ImageFacts("", 0)
"""Facts of an image whose file has not been verified."""
NamedImages = tuple[tuple[str, tuple[str, ...]], ...]
"""File and labels of images."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image of a dataset.

    Attributes:
        file: Absolute path as text, which takes a quarter of the memory of a `Path`.
        labels: Names of its classes, sorted: one, or any number in multi-label data.
        split: train, validation, test, or `UNSPLIT`.
        group: Name of its group, which stays in one split; empty if there are no groups.
        facts: Digest, size and more, once the file has been verified.
    """

    file: str
    labels: tuple[str, ...]
    split: str
    facts: ImageFacts = NOT_VERIFIED
    group: str = ""

    @property
    def label(self) -> str:
        """The labels as text."""
        return ", ".join(self.labels)

    @property
    def path(self) -> Path:
        """Path of the file."""
        return Path(self.file)

    @property
    def digest(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        return self.facts.digest


def count_images(images: Iterable[ImageRecord], classes: Mapping[str, Iterable[str]]) -> dict[str, dict[str, int]]:
    """Return the number of images of each class in each split, for the given classes of each split."""
    found = Counter((one.split, label) for one in images for label in one.labels)
    return {split: {label: found[split, label] for label in labels} for split, labels in classes.items()}


@dataclass
class LabeledImages:
    """Images and their labels, as found by a label source.

    Attributes:
        root: Folder of the images, resolved.
        table: The table that contains the labels; None for class folders and shards.
        is_multi_label: Whether an image can have any number of labels.
        folders: Folder of each split; the root for `UNSPLIT` and for tables.
        classes: Class names of each split, sorted.
        records: Images, not verified, sorted by split, class and path.
        left_out: Number of files and folders that were left out, by reason.
        left_out_of_class: The same for each (split, class).
        issues: Problems with the source itself.
        shards: Paths of the shards that contain the images; none for files.
        reads_arrays: Whether NumPy arrays (.npy) are images, as they are for `color: bands`.
    """

    root: Path
    table: Path | None = None
    is_multi_label: bool = False
    folders: dict[str, Path] = field(default_factory=dict)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    records: list[ImageRecord] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    left_out_of_class: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)
    shards: tuple[str, ...] = ()
    reads_arrays: bool = False

    @property
    def has_splits(self) -> bool:
        """Whether the source assigns images to splits."""
        return UNSPLIT not in self.classes

    def place(self, split: str, label: str = "") -> Path:
        """Return where the labels of a split, or of one of its classes, come from: a folder, the table, or shards."""
        is_folder = not self.shards and not self.is_multi_label
        return self.table or (self.folders[split] / label if is_folder else self.folders[split])

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names of all splits, sorted."""
        return tuple(sorted({label for labels in self.classes.values() for label in labels}))
