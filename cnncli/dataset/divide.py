"""Which split each image is in: that of its folder, or one that is drawn where there are no such folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cnncli.dataset.classes import too_small_problems
from cnncli.dataset.inventory import ImageRecord, Progress
from cnncli.dataset.near_duplicates import across, near_duplicates, near_notes
from cnncli.dataset.perceptual_hash import Found
from cnncli.dataset.scan import ALL, Scan
from cnncli.dataset.split import REST, split_images
from cnncli.errors import DataError

if TYPE_CHECKING:
    from cnncli.config.schema import SplitFractions


@dataclass(frozen=True)
class Divided:
    """Images in their final splits.

    Attributes:
        images: all of them, in the order in which they came.
        near: places of those that look alike and are in different splits.
        notes: what a reader should know, a sentence each.
    """

    images: tuple[ImageRecord, ...]
    near: Found
    notes: tuple[str, ...]


def divide(
    found: Scan,
    images: Sequence[ImageRecord],
    fractions: SplitFractions,
    seed: int,
    comparing: Progress | None = None,
) -> Divided:
    """Give every image its final split.

    Equal images stay together, and so do those that look alike, unless too little of a class would be left.

    Args:
        found: the folder.
        images: its readable ones.
        fractions: shares of validation and test, where they are drawn.
        seed: of the draw.
        comparing: is told how many comparisons of how many are done.
    Raises: DataError: classes too small to be divided, a line each.
    """
    shares, whole = _to_draw(found, fractions)
    near = near_duplicates(images, [whole] if shares else [], comparing)
    places = [place for place, one in enumerate(images) if shares and one.split == whole]
    drawn = _drawn(found, whole, [images[place] for place in places], shares, seed, _between(near, places))
    final = list(images)
    for place, split in zip(places, drawn, strict=True):
        final[place] = replace(final[place], split=split)
    notes = [*_notes(found, drawn, shares, seed), *near_notes(near)]
    return Divided(tuple(final), across(near, [one.split for one in final]), tuple(notes))


def division_problems(found: Scan, images: Sequence[ImageRecord]) -> list[str]:
    """A line for each class that is too small for the splits that would be drawn of a folder, by the usual shares."""
    from cnncli.config.schema import SplitFractions

    shares, whole = _to_draw(found, SplitFractions())
    try:
        _drawn(found, whole, [one for one in images if shares and one.split == whole], shares, seed=0, alike=[])
    except DataError as error:
        return list(error.problems)
    return []


def _to_draw(found: Scan, fractions: SplitFractions) -> tuple[dict[str, float], str]:
    """The shares above 0 of the splits that are to be drawn, and the split they are taken from."""
    shares = {"validation": fractions.validation, "test": fractions.test}
    whole = REST if found.has_splits else ALL
    if found.has_splits:
        del shares["test"]
        if "validation" in found.folders:
            shares = {}
    return {name: share for name, share in shares.items() if share > 0}, whole


def _drawn(
    found: Scan,
    whole: str,
    pool: Sequence[ImageRecord],
    shares: dict[str, float],
    seed: int,
    alike: Sequence[tuple[int, int]],
) -> tuple[str, ...]:
    digests, labels = [one.digest for one in pool], [one.label for one in pool]
    problems = []
    # Where images that look alike make a class too small, they are divided all the same, and warned of.
    for kept_together in [alike, []] if alike else [[]]:
        splits = split_images(digests, labels, shares, seed, kept_together)
        problems = too_small_problems(found.folders[whole], labels, splits, (REST, *shares)) if shares else []
        if not problems:
            return splits
    raise DataError(problems)


def _between(near: Found, places: Sequence[int]) -> list[tuple[int, int]]:
    """The pairs both of which are at these places, by their numbers among them; none where the search ended early."""
    numbers = {place: number for number, place in enumerate(places)}
    return [
        (numbers[one], numbers[other])
        for one, other, _ in near.pairs
        if near.complete and one in numbers and other in numbers
    ]


def _notes(found: Scan, drawn: Sequence[str], shares: dict[str, float], seed: int) -> list[str]:
    notes = []
    if shares:
        parts = ", ".join(f"{name} {drawn.count(name):,}" for name in (REST, *shares))
        missing = "validation folder: taken from train" if found.has_splits else "split folders: divided"
        notes.append(f"no {missing} by seed {seed}, stratified ({parts})")
    if "test" not in (found.folders if found.has_splits else shares):
        notes.append("no test split: figures are for validation, which training also chooses by")
    return notes
