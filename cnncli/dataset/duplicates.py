"""Images that are the same byte for byte: within a split, in two splits, or under two labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from cnncli.errors import printable

SHOWN = 20
"""So many pairs are spelled out; the number of all is told."""


class Labelled(Protocol):
    """What a row of a manifest has, and what is looked at here."""

    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def split(self) -> str: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102


One = TypeVar("One", bound=Labelled)
Group = tuple[One, ...]


def duplicates(rows: Iterable[One]) -> list[Group[One]]:
    """Groups of two and more rows whose files are equal, in the order of their first rows."""
    groups: dict[str, list[One]] = defaultdict(list)
    for row in rows:
        groups[row.digest].append(row)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def across_splits(groups: Iterable[Group[One]]) -> list[Group[One]]:
    """Of each group that lies in several splits, the first row of each split."""
    found = [tuple({row.split: row for row in reversed(group)}.values())[::-1] for group in groups]
    return [group for group in found if len(group) > 1]


def across_labels(groups: Iterable[Group[One]]) -> list[Group[One]]:
    """Of each group that has several labels within one split, the first row of each label there."""
    found = []
    for group in groups:
        for split in dict.fromkeys(row.split for row in group):
            first = {row.label: row for row in reversed(group) if row.split == split}
            if len(first) > 1:
                found.append(tuple(first.values())[::-1])
    return found


def leakage_lines(groups: Iterable[Group[One]]) -> list[str]:
    """An error for each image that lies in several splits, the first `SHOWN` of them spelled out."""
    leaks = across_splits(groups)
    lines = [
        f"{_equal(leak)}: the same image in {' and '.join(row.split for row in leak)}{_labels(leak)}"
        for leak in leaks[:SHOWN]
    ]
    if len(leaks) > SHOWN:
        lines.append(f"… and {len(leaks) - SHOWN:,} more images that lie in two splits, {len(leaks):,} in all")
    return lines


def two_label_notes(groups: Iterable[Group[One]]) -> list[str]:
    """A sentence about images that have two labels within a split, if there are any."""
    found = across_labels(groups)
    if not found:
        return []
    return [f"images with two labels in one split: {len(found):,}, e.g. {_equal(found[0])}"]


def _labels(group: Iterable[One]) -> str:
    labels = sorted({row.label for row in group})
    return f", under {len(labels)} labels: {', '.join(map(printable, labels))}" if len(labels) > 1 else ""


def _equal(group: Iterable[One]) -> str:
    return " = ".join(printable(row.path) for row in group)
