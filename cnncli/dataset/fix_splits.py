"""Which images have to move so that equal ones, and those that look alike, all lie in one split.

A group goes to the first of train, validation and test in which it lies: what stays in test was seen nowhere else.
Where that would take from a class of a split more than half of its images, or move what lies behind a link, the group
goes to the last of its splits instead; where that would, too, it stays. So does a group under two labels, which people
have to judge.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cnncli.dataset.inventory import ImageRecord, Progress
from cnncli.dataset.near_duplicates import near_duplicates, near_notes
from cnncli.dataset.scan import SPLITS, Scan
from cnncli.dataset.together import together
from cnncli.errors import printable


@dataclass(frozen=True, slots=True)
class Move:
    """An image that changes its split.

    Attributes:
        source, target: paths below the folder of the splits; nothing lies at the target.
        digest: SHA-256 of its bytes.
    """

    source: str
    target: str
    digest: str


@dataclass(frozen=True)
class Plan:
    """What is to be done about images that lie in several splits.

    Attributes:
        moves: in order.
        left: a sentence about each group that stays where it is.
    """

    moves: tuple[Move, ...]
    left: tuple[str, ...]


def plan_moves(found: Scan, images: Sequence[ImageRecord], comparing: Progress | None = None) -> Plan:
    """The moves after which no group lies in two splits, as far as the rule above allows.

    Args:
        found: a folder with split folders.
        images: its readable ones.
        comparing: is told how many comparisons of how many are done.
    """
    near = near_duplicates(images, SPLITS, comparing)
    alike = [(one, other) for one, other, _ in near.pairs] if near.complete else []
    left = [] if near.complete else ["so many images look alike that it is their nature: only equal ones are moved"]
    left += near_notes(near)
    planner = _Planner(found, images)
    for group in together([one.digest for one in images], [one.label for one in images], alike):
        if reason := planner.take(group):
            left.append(reason)
    return Plan(tuple(planner.moves), tuple(left))


@dataclass
class _Planner:
    """Moves group after group, and keeps account of what stays of each class of each split."""

    found: Scan
    images: Sequence[ImageRecord]
    moves: list[Move] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._staying = Counter((one.split, one.label) for one in self.images)
        self._least = {key: (n + 1) // 2 for key, n in self._staying.items()}
        self._taken: set[str] = set()

    def take(self, group: Sequence[int]) -> str | None:
        """Plan the moves of a group that lies in several splits; gives the reason where it has to stay."""
        members = [self.images[place] for place in group]
        splits = [split for split in SPLITS if any(one.split == split for one in members)]
        if len(splits) < 2:
            return None
        shown = " and ".join(printable(one.path) for one in _one_of_each(members))
        if len(labels := sorted({one.label for one in members})) > 1:  # moved together, nobody would see it any more
            named = " and ".join(map(printable, labels))
            return f"{shown}: in {' and '.join(splits)}, left there: which is right, {named}?"
        reasons = []
        for target in (splits[0], splits[-1]):
            movers = [one for one in members if one.split != target]
            reason = self._too_many(movers) or next(filter(None, (self._fixed(one, target) for one in movers)), None)
            if reason is None:
                self._move(movers, target)
                return None
            reasons.append(reason)
        return f"{shown}: in {' and '.join(splits)}, left there: {reasons[0]}"

    def _too_many(self, movers: Sequence[ImageRecord]) -> str | None:
        for (split, label), n in Counter((one.split, one.label) for one in movers).items():
            if self._staying[split, label] - n < self._least[split, label]:
                return f"{split} would lose more than half of its class {printable(label)}"
        return None

    def _fixed(self, one: ImageRecord, target: str) -> str | None:
        """Why an image cannot be moved, or None."""
        folder = self._folder(one, target)
        if os.path.realpath(one.file) != one.file:
            return f"{printable(one.path)} lies behind a link"
        if os.path.realpath(folder) != os.fspath(folder):
            return f"{printable(folder)} lies behind a link"
        return None

    def _move(self, movers: Sequence[ImageRecord], target: str) -> None:
        for one in movers:
            place = _free(self._folder(one, target) / one.path.name, self._taken)
            self._taken.add(os.fspath(place).casefold())
            self._staying[one.split, one.label] -= 1
            source, to = (os.path.relpath(path, self.found.root) for path in (one.path, place))
            self.moves.append(Move(source, to, one.digest))

    def _folder(self, one: ImageRecord, target: str) -> Path:
        """The folder in the target split that is for the image what its own is in its split."""
        return self.found.folders[target] / one.path.parent.relative_to(self.found.folders[one.split])


def _free(wanted: Path, taken: set[str]) -> Path:
    """The path, or the first of name-2, name-3 … at which nothing lies nor will lie."""
    number, path = 1, wanted
    while os.path.lexists(path) or os.fspath(path).casefold() in taken:
        number += 1
        path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    return path


def _one_of_each(members: Sequence[ImageRecord]) -> list[ImageRecord]:
    """The first image of each split."""
    return list({one.split: one for one in reversed(members)}.values())[::-1]
