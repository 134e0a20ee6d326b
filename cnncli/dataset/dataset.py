"""A dataset for the checks and the manifest: found, verified, and assigned to splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.dataset.duplicates import Group, identical
from cnncli.dataset.issues import error, note
from cnncli.dataset.labels.source import read_labels
from cnncli.dataset.records import ImageRecord, LabeledImages, count_images
from cnncli.dataset.split import SplitImages, assign_splits, limit_training
from cnncli.dataset.verification import recall_facts, verify_records
from cnncli.errors import Message
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.config.data_settings import DataConfig


@dataclass(frozen=True)
class Dataset:
    """A verified dataset.

    Attributes:
        found: Result of the label source.
        images: Its records with facts, including unreadable images.
        data: Settings of the config.
        seed: Seed for drawing splits.
        console: Console for progress.
        old: Images of a run to which these are added; None: they are a dataset of their own, with several classes.
    """

    found: LabeledImages
    images: Sequence[ImageRecord]
    data: DataConfig
    seed: int = 0
    console: Console | None = None
    old: Sequence[ImageRecord] | None = None

    @cached_property
    def good(self) -> tuple[ImageRecord, ...]:
        """Readable images, in the splits of the source."""
        return tuple(one for one in self.images if one.facts.problem is None)

    @cached_property
    def bad(self) -> tuple[tuple[Path, Message], ...]:
        """Path and reason of each unreadable image."""
        return tuple((one.path, one.facts.problem) for one in self.images if one.facts.problem is not None)

    @cached_property
    def identical(self) -> list[Group]:
        """Groups of identical files."""
        return identical(self.good)

    @cached_property
    def assigned(self) -> SplitImages:
        """Readable images in their final splits; all images are compared at the first access."""
        old = () if self.old is None else self.old
        assigned = assign_splits(self.found, self.good, self.data.splits, self.seed, self.console, old)
        limit = self.data.train_images
        return assigned if limit is None else limit_training(assigned, limit, self.seed)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of readable images by final split and class, with the training split first."""
        images, labels = self.assigned.images, sorted({label for one in self.good for label in one.labels})
        return count_images(images, dict.fromkeys(["train", *(one.split for one in images)], labels))


def read_dataset(
    data: DataConfig, seed: int = 0, console: Console | None = None, *, old: Sequence[ImageRecord] | None = None
) -> Dataset:
    """Find and verify the images of a config's data, which are added to `old` images of a run, if given.

    Raises:
        DataError: There is no such folder, or the table of labels cannot be used.
    """
    if old is not None:
        # Before others of the same folders are verified, since that forgets deleted files.
        old = recall_facts(old, data)
    found = read_labels(data)
    images = verify_records(found.records, data, console)
    found.records = []  # `images` has them with facts; a million of them take some 100 MB
    if data.min_images > 1:
        images = _without_small_classes(found, images, data.min_images)
    return Dataset(found, images, data, seed, console, old)


def _without_small_classes(found: LabeledImages, images: list[ImageRecord], minimum: int) -> list[ImageRecord]:
    """Leave out classes with fewer readable images, over all splits, than the minimum."""
    sizes = Counter(label for one in images if one.facts.problem is None for label in one.labels)
    small = {label: sizes[label] for label in found.labels if sizes[label] < minimum}
    if not small:
        return images
    if len(found.labels) - len(small) < (1 if found.is_multi_label else 2):
        found.issues.append(error("data-all-classes-left-out", found.root, minimum=minimum))
        return images
    found.issues.append(note("data-classes-left-out", found.root, minimum=minimum, n=len(small), counts=small))
    for split, names in found.classes.items():
        found.classes[split] = tuple(name for name in names if name not in small)
    if found.is_multi_label:
        return [replace(one, labels=tuple(label for label in one.labels if label not in small)) for one in images]
    return [one for one in images if one.label not in small]
