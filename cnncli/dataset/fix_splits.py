"""Move identical and similar images into one split.

A group goes to the first of train, validation and test in which it is found: what stays in test was seen nowhere else.
If that would take more than half of a class from a split, or move something behind a link, the group goes to the last
of its splits instead; if that fails too, it stays. So does a group with two labels, which people have to judge.

A move is a hard link at the new place and then the removal of the old name, so it never overwrites a file. A call that
is killed leaves groups that are still divided, and at most one image under both names; the next call finishes both.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cnncli.dataset.duplicates import inseparable, similar
from cnncli.dataset.records import SPLITS, ImageRecord, LabeledImages
from cnncli.dataset.watching import Progress
from cnncli.errors import Message, printable
from cnncli.storage.atomic import sync_folder


@dataclass(frozen=True, slots=True)
class Move:
    """An image that changes its split: `source` and `target` are absolute paths."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Plan:
    """Moves, and a message about each group that stays in several splits."""

    moves: tuple[Move, ...]
    left: tuple[Message, ...]


def plan_moves(found: LabeledImages, images: Sequence[ImageRecord], progress: Progress | None = None) -> Plan:
    """Plan the moves after which no group is in two splits, as far as the rules allow.

    Args:
        found: a folder with split folders.
        images: its readable images.
        progress: receives the number of comparisons done and in total.
    """
    near = similar(images, SPLITS, progress)
    alike = [(one, other) for one, other, _ in near.pairs] if near.complete else []
    planner = _Planner(found, images)
    if not near.complete or near.too_many:
        text = "too many images, or too many similar ones, to compare: only identical images are moved"
        planner.left.append(Message("data-fix-identical-only", text))
    for group in inseparable([one.digest for one in images], [one.label for one in images], alike):
        planner.take([images[place] for place in group])
    return Plan(tuple(planner.moves), tuple(planner.left))


def carry_out(moves: Sequence[Move]) -> list[Message]:
    """Move the images; return a message about each that could not be moved."""
    problems = []
    for move in moves:
        try:
            _move(move.source, move.target)
        except OSError as error:
            text = f"{printable(move.source)}: cannot be moved to {printable(move.target)} ({error.strerror})"
            problems.append(Message("data-fix-move-failed", text, path=move.source, target=move.target))
    for folder in {path.parent for move in moves for path in (move.source, move.target) if path.parent.is_dir()}:
        sync_folder(folder)
    return problems


def _move(source: Path, target: Path) -> None:
    if not os.path.lexists(source):
        return  # another call, at the same time, has moved it
    if _is_same_file(source, target):
        source.unlink(missing_ok=True)  # a call was killed between the link and the removal of the old name
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise
        source.rename(target)
        return
    try:
        source.unlink(missing_ok=True)  # missing if another call found both names
    except OSError:
        target.unlink()
        raise


def _is_same_file(source: Path, target: Path) -> bool:
    try:
        return os.path.samestat(source.lstat(), target.lstat())
    except OSError:
        return False


@dataclass
class _Planner:
    """Plans group after group, and keeps account of what remains of each class of each split."""

    found: LabeledImages
    images: Sequence[ImageRecord]
    moves: list[Move] = field(default_factory=list)
    left: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._remaining = Counter((one.split, one.label) for one in self.images)
        self._minimum = {key: (n + 1) // 2 for key, n in self._remaining.items()}
        self._taken: set[str] = set()

    def take(self, members: Sequence[ImageRecord]) -> None:
        """Plan the moves of a group, or the message that it stays."""
        splits = [split for split in SPLITS if any(one.split == split for one in members)]
        if len(splits) < 2:
            return
        first = {one.split: one for one in reversed(members)}
        paths = tuple(one.path for one in reversed(first.values()))
        where = f"{' and '.join(map(printable, paths))}: in {' and '.join(splits)}"
        if len(labels := sorted({one.label for one in members})) > 1:  # moved together, nobody would notice any more
            text = f"{where}, not moved: which label is right, {' or '.join(map(printable, labels))}?"
            self.left.append(Message("data-fix-two-labels", text, paths=paths, labels=tuple(labels)))
            return
        reasons = []
        for target in (splits[0], splits[-1]):
            movers = [one for one in members if one.split != target]
            if not (reason := self._obstacle(movers, target)):
                self._plan(movers, target)
                return
            reasons.append(reason)
        self.left.append(Message("data-fix-left", f"{where}, not moved: {reasons[0]}", paths=paths))

    def _obstacle(self, movers: Sequence[ImageRecord], target: str) -> str | None:
        """Return why images cannot be moved to a split, or None."""
        for (split, label), n in Counter((one.split, one.label) for one in movers).items():
            if self._remaining[split, label] - n < self._minimum[split, label]:
                return f"{split} would lose more than half of its class {printable(label)}"
        for one in movers:
            folder = self._folder(one, target)
            for path in (one.path, folder):
                if os.path.realpath(path) != os.fspath(path):
                    return f"{printable(path)} is behind a link"
        return None

    def _plan(self, movers: Sequence[ImageRecord], target: str) -> None:
        for one in movers:
            place = _free_path(self._folder(one, target) / one.path.name, one.path, self._taken)
            self._taken.add(os.fspath(place).casefold())
            self._remaining[one.split, one.label] -= 1
            self.moves.append(Move(one.path, place))

    def _folder(self, one: ImageRecord, target: str) -> Path:
        """Return the folder in the target split that corresponds to the folder of an image."""
        return self.found.folders[target] / one.path.parent.relative_to(self.found.folders[one.split])


def _free_path(wanted: Path, source: Path, taken: set[str]) -> Path:
    """Return the first free path among name, name-2, name-3, …, or one that already is a link to the source."""
    number, path = 1, wanted
    while not _is_same_file(source, path) and (os.path.lexists(path) or os.fspath(path).casefold() in taken):
        number += 1
        path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    return path
