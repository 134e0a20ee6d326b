"""What there is to know about a folder of images before training on it: `data check`, and `init`'s source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any, Literal

from cnncli.dataset.classes import class_problems, class_warnings
from cnncli.dataset.divide import division_problems
from cnncli.dataset.duplicates import across_labels, across_splits, duplicates, leakage_lines, two_label_notes
from cnncli.dataset.inventory import ImageRecord, Progress
from cnncli.dataset.near_duplicates import how_to_mend, near_duplicates, near_notes, near_warnings
from cnncli.dataset.scan import Scan
from cnncli.dataset.sizes import size_warnings
from cnncli.errors import Message, printable


@dataclass(frozen=True)
class Spread:
    """Smallest, middle (one that occurs) and largest of some numbers; zeros where there are none."""

    min: int
    median: int
    max: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Spread:
        """The spread of any numbers."""
        return cls(min(values), median_low(values), max(values)) if values else cls(0, 0, 0)


@dataclass(frozen=True)
class FolderFacts:
    """A folder of images in figures.

    Attributes:
        path: the folder.
        layout: splits (train, validation, test of class folders) or classes (class folders alone).
        classes: names, sorted.
        counts: readable images by split and class; the split of class folders alone is `all`.
        width, height, size_bytes: of the readable images.
        formats, modes: their numbers by format and by Pillow's color mode.
        unreadable: path and reason of each image that is refused.
        duplicates_within: groups of equal files in one split.
        duplicates_across: equal files in several splits, one of each split.
        two_labels: equal files under several labels of one split, one of each label.
        near_duplicates: images that look alike in two splits, with the correlation of their brightness (0-1).
        left_out: files and folders passed over, by reason.
        problems: what keeps the folder from being trained on, a line each; empty: it is fine.
        warnings: what can hardly be meant or flatters the figures, a sentence each.
        notes: what is worth knowing, a sentence each.
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
    unreadable: tuple[tuple[Path, str], ...]
    duplicates_within: tuple[tuple[Path, ...], ...]
    duplicates_across: tuple[tuple[Path, ...], ...]
    two_labels: tuple[tuple[Path, ...], ...]
    near_duplicates: tuple[tuple[Path, Path, float], ...]
    left_out: Mapping[str, int]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def total(self) -> int:
        """Number of readable images."""
        return sum(n for of_split in self.counts.values() for n in of_split.values())

    def to_dict(self) -> dict[str, Any]:
        """As `data check --json` prints it."""
        return {
            "path": str(self.path),
            "fine": not self.problems,
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
                {"path": str(path), "code": Message.of(reason).code, "reason": str(reason)}
                for path, reason in self.unreadable
            ],
            "duplicates_within": _as_lists(self.duplicates_within),
            "duplicates_across": _as_lists(self.duplicates_across),
            "two_labels": _as_lists(self.two_labels),
            "near_duplicates": [
                {"paths": [str(one), str(other)], "correlation": round(correlation, 4)}
                for one, other, correlation in self.near_duplicates
            ],
            "left_out": dict(self.left_out),
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


def folder_facts(scan: Scan, images: Sequence[ImageRecord], comparing: Progress | None = None) -> FolderFacts:
    """The facts of a scanned folder all of whose candidates were verified; `comparing` is told of comparisons."""
    good = [one for one in images if one.problem is None]
    bad = tuple((one.path, one.problem) for one in images if one.problem is not None)
    groups = duplicates(good)
    near = near_duplicates(good, progress=comparing)
    counts = _counts(scan, good)
    unreadable = [f"{printable(path)}: {reason}" for path, reason in bad]
    return FolderFacts(
        path=scan.root,
        layout="splits" if scan.has_splits else "classes",
        classes=tuple(sorted({name for names in scan.classes.values() for name in names})),
        counts=counts,
        width=Spread.of([one.facts.width for one in good]),
        height=Spread.of([one.facts.height for one in good]),
        size_bytes=Spread.of([one.facts.size_bytes for one in good]),
        formats=dict(Counter(one.facts.format for one in good).most_common()),
        modes=dict(Counter(one.facts.mode for one in good).most_common()),
        unreadable=bad,
        duplicates_within=tuple(_paths(group) for group in _within_splits(groups)),
        duplicates_across=tuple(_paths(group) for group in across_splits(groups)),
        two_labels=tuple(_paths(group) for group in across_labels(groups)),
        near_duplicates=tuple(
            (good[one].path, good[other].path, correlation) for one, other, correlation in near.pairs
        ),
        left_out=dict(scan.left_out.most_common()),
        problems=(*(class_problems(scan, good) or division_problems(scan, good)), *unreadable, *leakage_lines(groups)),
        warnings=(*near_warnings(good, near, how_to_mend(scan.root)), *class_warnings(scan), *size_warnings(counts)),
        notes=(*scan.notes, *two_label_notes(groups), *near_notes(near)),
    )


def _counts(scan: Scan, good: Sequence[ImageRecord]) -> dict[str, dict[str, int]]:
    found = Counter((one.split, one.label) for one in good)
    return {split: {label: found[split, label] for label in labels} for split, labels in scan.classes.items()}


def _within_splits(groups: Sequence[tuple[ImageRecord, ...]]) -> list[tuple[ImageRecord, ...]]:
    parts = [
        tuple(one for one in group if one.split == split)
        for group in groups
        for split in dict.fromkeys(one.split for one in group)
    ]
    return [part for part in parts if len(part) > 1]


def _paths(group: Sequence[ImageRecord]) -> tuple[Path, ...]:
    return tuple(one.path for one in group)


def _as_lists(groups: Sequence[Sequence[Path]]) -> list[list[str]]:
    return [[str(path) for path in group] for group in groups]
