"""`cnncli data check --fix-splits`: images that lie in several splits, equal or alike, moved into one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.dataset.fix_splits import Move, plan_moves
from cnncli.dataset.inventory import MAX_PIXELS, verified
from cnncli.dataset.move_files import carry_out, interrupted_moves
from cnncli.dataset.scan import scan
from cnncli.errors import DataError, printable
from cnncli.recipes.images import checking_images, comparing_images
from cnncli.terminal.console import Console


@dataclass(frozen=True)
class Fixed:
    """What was moved.

    Attributes:
        moves: those that were carried out.
        planned: those that nobody agreed to.
        left: a sentence about each group that stays in several splits.
        problems: a line for each image that could not be moved.
    """

    moves: tuple[Move, ...]
    planned: tuple[Move, ...]
    left: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As `data check --fix-splits --json` prints it, beside the facts of the folder."""
        return {
            "moves": [
                {"from": move.source, "to": move.target, "moved": moved}
                for moves, moved in ((self.moves, True), (self.planned, False))
                for move in moves
            ],
            "moved": not self.planned,
            "left": list(self.left),
            "not_moved": list(self.problems),
        }


def fix_splits(
    folder: Path,
    console: Console,
    agrees: Callable[[tuple[Move, ...]], bool],
    max_pixels: int = MAX_PIXELS,
) -> Fixed:
    """Move equal images, and those that look alike, into one split; see `mending` for which one.

    What an earlier call had begun is finished first.

    Args:
        folder: with split folders.
        console: shows progress.
        agrees: is shown the moves before any of them is made, and says whether they may be.
        max_pixels: larger images are not looked at.

    Raises:
        DataError: there is no such folder, it has no split folders, or cannot be written to.
    """
    found = scan(folder)
    if not found.has_splits:
        raise DataError(
            f"{printable(found.root)}: has no split folders to move images between;"
            " where training draws the splits, it keeps equal images and those that look alike together"
        )
    earlier = tuple(interrupted_moves(found))
    problems: list[str] = []
    if earlier:
        console.say(f"an earlier call was interrupted; moves that are left of it: {len(earlier):,}")
        if not agrees(earlier):
            return Fixed((), earlier)
        problems += carry_out(found.root, earlier)
        found = scan(folder)
    with checking_images(console) as progress:
        images = verified(found, found.candidates, max_pixels, progress=progress)
    with comparing_images(console) as progress:
        plan = plan_moves(found, [one for one in images if one.problem is None], progress)
    if plan.moves and not agrees(plan.moves):
        return Fixed(earlier, plan.moves, plan.left, tuple(problems))
    if plan.moves:
        problems += carry_out(found.root, plan.moves)
    return Fixed((*earlier, *plan.moves), (), plan.left, tuple(problems))
