"""`cnncli data check`: report on a folder of images, and move duplicates into one split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.dataset.build import report_on_folder
from cnncli.dataset.fix_splits import Move, carry_out, plan_moves
from cnncli.dataset.folder_report import FolderReport
from cnncli.dataset.labels.folders import read_folders
from cnncli.dataset.verification import MAX_PIXELS, verify_records
from cnncli.dataset.watching import watching
from cnncli.errors import DataError, Message, printable
from cnncli.terminal.console import Console


@dataclass(frozen=True)
class FixedSplits:
    """Result of moving images between splits.

    Attributes:
        moves: moves that were planned.
        carried_out: whether they were made.
        left: a message about each group that stays in several splits.
        problems: a message about each image that could not be moved.
    """

    moves: tuple[Move, ...]
    carried_out: bool
    left: tuple[Message, ...]
    problems: tuple[Message, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as `data check --fix-splits --json` prints it, next to the report."""
        return {
            "moves": [
                {"from": str(move.source), "to": str(move.target), "moved": self.carried_out} for move in self.moves
            ],
            "moved": self.carried_out,
            "left": [str(message) for message in self.left],
            "not_moved": [str(message) for message in self.problems],
        }


def check_data(folder: Path, console: Console) -> FolderReport:
    """Report on every image of a folder.

    Raises:
        DataError: there is no such folder; everything else is an issue of the report.
    """
    with watching(console) as progress:
        return report_on_folder(folder, watching=progress)


def fix_splits(
    folder: Path, console: Console, confirm: Callable[[tuple[Move, ...]], bool], max_pixels: int = MAX_PIXELS
) -> FixedSplits:
    """Move identical and similar images into one split, see `dataset.fix_splits`.

    Args:
        folder: a folder with split folders.
        console: shows progress.
        confirm: receives the moves before any is made; returns whether to make them.
        max_pixels: larger images are ignored.

    Raises:
        DataError: there is no such folder, or it has no split folders.
    """
    found = read_folders(folder)
    if not found.has_splits:
        text = (
            f"{printable(found.root)}: has no split folders to move images between. A training that draws the splits "
            "keeps identical and similar images together."
        )
        raise DataError(Message("data-fix-no-splits", text, path=found.root))
    with watching(console) as progress:
        images = verify_records(found, found.records, max_pixels, progress=progress.verifying)
        good = [one for one in images if one.problem is None]
        plan = plan_moves(found, good, progress.comparing)
    if not plan.moves:
        return FixedSplits((), True, plan.left)
    if not confirm(plan.moves):
        return FixedSplits(plan.moves, False, plan.left)
    return FixedSplits(plan.moves, True, plan.left, tuple(carry_out(plan.moves)))
