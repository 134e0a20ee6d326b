"""Images that look alike in different splits: found, put into words, and listed."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cnncli.dataset.duplicates import Labelled
from cnncli.dataset.inventory import ImageRecord, Progress
from cnncli.dataset.perceptual_hash import Found, Looks, near_pairs
from cnncli.errors import printable


def near_duplicates(
    images: Sequence[ImageRecord], pools: Collection[str] = (), progress: Progress | None = None
) -> Found:
    """The pairs of images that look alike and lie in different splits, equal files left out.

    Args:
        images: readable ones.
        pools: splits whose images are compared with each other, too.
        progress: is told how many comparisons of how many are done.
    """
    looks = Looks.of([one.facts.thumbnail for one in images])
    parts = _different(images)
    within = [number for number, split in enumerate(parts) if split in pools]
    found = near_pairs(looks, [np.array(places, np.int64) for places in parts.values()], within, progress=progress)
    pairs = [pair for pair in found.pairs if images[pair[0]].digest != images[pair[1]].digest]
    return replace(found, pairs=tuple(pairs))


def across(found: Found, splits: Sequence[str]) -> Found:
    """Only the pairs whose images lie in different splits, given the split of every image."""
    return replace(found, pairs=tuple(pair for pair in found.pairs if splits[pair[0]] != splits[pair[1]]))


def near_warnings(images: Sequence[Labelled], found: Found, remedy: str) -> list[str]:
    """A sentence about images that look alike in different splits, if there are any; the remedy ends it."""
    if not found.pairs:
        return []
    contradicting = [pair for pair in found.pairs if images[pair[0]].label != images[pair[1]].label]
    one, other, correlation = max(contradicting or found.pairs, key=lambda pair: pair[2])
    where, there = (f"{printable(images[place].path)} ({images[place].split})" for place in (one, other))
    number = f"{len(found.pairs):,}" if found.complete else f"at least {len(found.pairs):,}"
    labels = f", {len(contradicting):,} of them under two labels" if contradicting else ""
    return [
        f"pairs of images that look alike in different splits: {number}{labels}, e.g. {where} and {there},"
        f" {correlation:.0%} alike; they flatter the figures. {remedy}"
    ]


def near_notes(found: Found) -> list[str]:
    """A sentence about a search that was not made, if so."""
    if not found.too_many:
        return []
    return [
        f"{found.too_many:,} images are too many to compare each with each: only equal ones were looked for, none"
        " that look alike"
    ]


def how_to_mend(root: Path) -> str:
    """The command that moves images of split folders together."""
    return f"`cnncli data check {printable(shlex.quote(str(root)))} --fix-splits` moves them together"


def _different(images: Sequence[ImageRecord]) -> dict[str, list[int]]:
    """By split the places of its images, of equal ones the first."""
    seen: set[tuple[str, str]] = set()
    parts: dict[str, list[int]] = {}
    for place, one in enumerate(images):
        if (one.split, one.digest) not in seen:
            seen.add((one.split, one.digest))
            parts.setdefault(one.split, []).append(place)
    return parts
