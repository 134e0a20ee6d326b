"""Move identical and similar images into one split.

A group moves to the first of train, validation and test that contains one of its images, so that the test split keeps
only images that are in no other split. If that would take more than half of a class from a split, or move a file behind
a link, the group moves to the last of its splits instead, or stays if that fails, too. Groups with two labels also
stay, because people must decide which label is right.

A move creates a hard link and then removes the old name, so it never overwrites a file. If the process is killed, at
most one image has both names; the next call completes the move.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnncli.dataset.dataset import read_dataset
from cnncli.dataset.duplicates import inseparable, similar
from cnncli.dataset.records import SPLITS, ImageRecord, LabeledImages
from cnncli.errors import DataError, Message, printable
from cnncli.storage.atomic import sync_folder
from cnncli.terminal.console import Console


@dataclass(frozen=True, slots=True)
class Move:
    """An image that changes its split; `source` and `target` are absolute paths."""

    source: Path
    target: Path


def plan_moves(folder: Path, console: Console | None = None) -> tuple[list[Move], list[Message]]:
    """Plan moves after which no group is in two splits, as far as the rules allow.

    Returns:
        The moves, and a message for each group that stays in several splits.

    Raises:
        DataError: There is no such folder, or it has no split folders.
    """
    from cnncli.config.data_settings import DataConfig

    dataset = read_dataset(DataConfig(path=folder), console=console)
    found, images = dataset.found, dataset.good
    if not found.has_splits or found.shards:
        text = f"{printable(found.root)}: has no split folders to move images between"
        raise DataError(Message("data-fix-no-splits", text, path=found.root))
    near = similar(images, SPLITS, console)
    planner = _Planner(found, images)
    if not near.is_complete:
        text = "too many images or too many similar pairs to compare; only identical images are moved"
        planner.left.append(Message("data-fix-identical-only", text))
    alike = near.pairs if near.is_complete else ()
    for group in inseparable([one.digest for one in images], [one.label for one in images], alike):
        planner.add([images[place] for place in group])
    return planner.moves, planner.left


def carry_out(moves: Sequence[Move]) -> list[Message]:
    """Move the images, and return a message for each one that could not be moved."""
    problems = []
    for move in moves:
        try:
            _move(move.source, move.target)
        except OSError as error:
            text = f"{printable(move.source)}: cannot be moved to {printable(move.target)} ({error.strerror})"
            problems.append(Message("data-fix-move-failed", text, path=move.source, target=move.target))
    for folder in {path.parent for move in moves for path in (move.source, move.target)}:
        sync_folder(folder)
    return problems


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        return  # a concurrent call has moved it
    except FileExistsError:
        if not _is_same_file(source, target):  # otherwise a call was killed before it removed the old name
            raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise
        source.rename(target)
    try:
        source.unlink(missing_ok=True)
    except OSError:
        target.unlink()
        raise


def _is_same_file(source: Path, target: Path) -> bool:
    try:
        return os.path.samestat(source.lstat(), target.lstat())
    except OSError:
        return False


class _Planner:
    """Plans moves group by group, and tracks the number of images left in each class of each split."""

    def __init__(self, found: LabeledImages, images: Sequence[ImageRecord]) -> None:
        self.moves: list[Move] = []
        self.left: list[Message] = []
        self._folders = found.folders
        self._remaining = Counter((one.split, one.label) for one in images)
        self._minimum = {key: (n + 1) // 2 for key, n in self._remaining.items()}
        self._taken: set[str] = set()

    def add(self, members: Sequence[ImageRecord]) -> None:
        """Plan the moves of a group, or add a message that it stays."""
        splits = [split for split in SPLITS if any(one.split == split for one in members)]
        if len(splits) < 2:
            return
        labels = sorted({one.label for one in members})
        # After a move, contradicting labels would be hard to find.
        reasons = [f"which label is right, {' or '.join(map(printable, labels))}?"] if len(labels) > 1 else []
        for target in (splits[0], splits[-1]) if len(labels) == 1 else ():
            if not (reason := self._plan(members, target)):
                return
            reasons.append(reason)
        paths = tuple(next(one.path for one in members if one.split == split) for split in splits)
        text = f"{' and '.join(map(printable, paths))}: in {' and '.join(splits)}, not moved: {'; '.join(reasons)}"
        self.left.append(Message("data-fix-left", text, paths=paths, labels=tuple(labels)))

    def _plan(self, members: Sequence[ImageRecord], target: str) -> str | None:
        """Plan to move a group to a split; return the reason if that is impossible."""
        movers = [one for one in members if one.split != target]
        for (split, label), n in Counter((one.split, one.label) for one in movers).items():
            if self._remaining[split, label] - n < self._minimum[split, label]:
                return f"{split} would lose more than half of its class {printable(label)}"
        folders = [self._folders[target] / one.path.parent.relative_to(self._folders[one.split]) for one in movers]
        for path in (*(one.path for one in movers), *folders):
            if os.path.realpath(path) != os.fspath(path):
                return f"{printable(path)} is behind a link"
        for one, folder in zip(movers, folders, strict=True):
            place = self._free_path(folder / one.path.name, one.path)
            self._taken.add(os.fspath(place).casefold())
            self._remaining[one.split, one.label] -= 1
            self.moves.append(Move(one.path, place))
        return None

    def _free_path(self, path: Path, source: Path) -> Path:
        """Return the first of name, name-2, name-3, … that is free or already a link to the source."""
        number, free = 1, path
        while not _is_same_file(source, free) and (os.path.lexists(free) or os.fspath(free).casefold() in self._taken):
            number += 1
            free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        return free
