"""Report on a folder of images: counts, sizes, formats and issues. `data check` prints it, and `init` relies on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any, Literal

from cnncli.dataset.checks import Dataset
from cnncli.dataset.duplicates import across_labels, across_splits, within_splits
from cnncli.dataset.issues import Issue, messages_of
from cnncli.dataset.records import ImageRecord
from cnncli.errors import Message


@dataclass(frozen=True)
class Spread:
    """Minimum, median (one of the values) and maximum of some numbers; zeros if there are none."""

    min: int
    median: int
    max: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Spread:
        """Return the spread of numbers."""
        return cls(min(values), median_low(values), max(values)) if values else cls(0, 0, 0)


@dataclass(frozen=True)
class FolderReport:
    """Facts about a folder of images.

    Attributes:
        path: the folder.
        layout: splits (train, validation, test of class folders) or classes (class folders only).
        classes: names, sorted.
        counts: readable images by split and class; the split of class folders only is `all`.
        width, height, size_bytes: spread over the readable images.
        formats, modes: number of readable images by format and by Pillow's color mode.
        unreadable: path and reason of each unreadable image.
        duplicates_within: groups of identical files in one split.
        duplicates_across: identical files in several splits, one of each split.
        two_labels: identical files with several labels in one split, one of each label.
        near_duplicates: similar images in two splits, with the correlation of their brightness (0-1).
        left_out: number of files and folders that were left out, by reason.
        issues: what the checks found; without an error, the folder can be trained on.
    """

    path: Path
    layout: Literal["splits", "classes"]
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    width: Spread
    height: Spread
    size_bytes: Spread
    formats: Mapping[str, int]
    modes: Mapping[str, int]
    unreadable: tuple[tuple[Path, Message], ...]
    duplicates_within: tuple[tuple[Path, ...], ...]
    duplicates_across: tuple[tuple[Path, ...], ...]
    two_labels: tuple[tuple[Path, ...], ...]
    near_duplicates: tuple[tuple[Path, Path, float], ...]
    left_out: Mapping[str, int]
    issues: tuple[Issue, ...]

    @property
    def total(self) -> int:
        """Number of readable images."""
        return sum(n for counts in self.counts.values() for n in counts.values())

    @property
    def errors(self) -> list[Message]:
        """What keeps the folder from being trained on."""
        return messages_of(self.issues, "error")

    @property
    def warnings(self) -> list[Message]:
        """What is probably a mistake, or inflates metrics."""
        return messages_of(self.issues, "warning")

    @property
    def notes(self) -> list[Message]:
        """What is worth knowing."""
        return messages_of(self.issues, "note")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as `data check --json` prints it."""
        return {
            "path": str(self.path),
            "ok": not self.errors,
            "layout": self.layout,
            "classes": list(self.classes),
            "total": self.total,
            "counts": {split: dict(counts) for split, counts in self.counts.items()},
            "width": vars(self.width),
            "height": vars(self.height),
            "size_bytes": vars(self.size_bytes),
            "formats": dict(self.formats),
            "modes": dict(self.modes),
            "unreadable": [
                {"path": str(path), "code": reason.code, "reason": str(reason)} for path, reason in self.unreadable
            ],
            "duplicates_within": _as_lists(self.duplicates_within),
            "duplicates_across": _as_lists(self.duplicates_across),
            "two_labels": _as_lists(self.two_labels),
            "near_duplicates": [
                {"paths": [str(one), str(other)], "correlation": round(correlation, 4)}
                for one, other, correlation in self.near_duplicates
            ],
            "left_out": dict(self.left_out),
            "issues": [issue.to_dict() for issue in self.issues],
        }


def report_of(dataset: Dataset, assigned: Dataset, issues: Sequence[Issue]) -> FolderReport:
    """Describe a dataset.

    Args:
        dataset: in the splits of its folders.
        assigned: the same in the splits that a training would use.
        issues: what the checks found.
    """
    good, found, groups = dataset.good, dataset.found, dataset.identical
    similar = assigned.assigned.similar.pairs if assigned.assigned else ()
    return FolderReport(
        path=found.root,
        layout="splits" if found.has_splits else "classes",
        classes=tuple(sorted({name for names in found.classes.values() for name in names})),
        counts=_counts(dataset),
        width=Spread.of([one.width for one in good]),
        height=Spread.of([one.height for one in good]),
        size_bytes=Spread.of([one.facts.size_bytes for one in good]),
        formats=dict(Counter(one.facts.format for one in good).most_common()),
        modes=dict(Counter(one.facts.mode for one in good).most_common()),
        unreadable=tuple((one.path, one.problem) for one in dataset.bad if one.problem is not None),
        duplicates_within=tuple(_paths(group) for group in within_splits(groups)),
        duplicates_across=tuple(_paths(group) for group in across_splits(groups)),
        two_labels=tuple(_paths(group) for group in across_labels(groups)),
        near_duplicates=tuple((good[one].path, good[other].path, score) for one, other, score in similar),
        left_out=dict(found.left_out.most_common()),
        issues=tuple(issues),
    )


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    found = Counter((one.split, one.label) for one in dataset.good)
    return {split: {label: found[split, label] for label in labels} for split, labels in dataset.found.classes.items()}


def _paths(group: Sequence[ImageRecord]) -> tuple[Path, ...]:
    return tuple(one.path for one in group)


def _as_lists(groups: Sequence[Sequence[Path]]) -> list[list[str]]:
    return [[str(path) for path in group] for group in groups]
