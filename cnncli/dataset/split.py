"""Splits: which images of data without split folders become validation and test.

A seeded, stratified draw that depends on the images' bytes and the seed only, not on their names or order. Identical
files stay together, and so do similar images. Each class is divided exactly, by largest remainders. When images are
added, only those at the edges between two splits change sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.dataset.duplicates import inseparable, similar, similar_across
from cnncli.dataset.issues import Issue
from cnncli.dataset.perceptual_hash import Similar
from cnncli.dataset.records import UNSPLIT, ImageRecord, LabeledImages
from cnncli.dataset.watching import Progress
from cnncli.runtime.random_keys import digest_words, uniform_words

if TYPE_CHECKING:
    from cnncli.config.schema import SplitFractions

REST = "train"
"""Split of every image that no other split takes."""


@dataclass(frozen=True)
class SplitImages:
    """Images in their final splits.

    Attributes:
        images: readable images, in the order in which they came.
        similar: pairs of similar images in different splits, as indexes of `images`.
        issues: what the draw reports.
    """

    images: tuple[ImageRecord, ...]
    similar: Similar
    issues: tuple[Issue, ...]


def assign_splits(
    found: LabeledImages,
    images: Sequence[ImageRecord],
    fractions: SplitFractions,
    seed: int,
    progress: Progress | None = None,
) -> SplitImages:
    """Give every image its final split.

    Similar images stay together unless that leaves a class without images in a split.

    Args:
        found: source of the images.
        images: its readable images.
        fractions: fractions of validation and test, if they are drawn.
        seed: seed of the draw.
        progress: receives the number of comparisons done and in total.

    Returns:
        The images; with an error among the issues if classes are too small for the splits.
    """
    wanted, pool = _splits_to_draw(found, fractions)
    alike = similar(images, [pool] if wanted else [], progress)
    places = [place for place, one in enumerate(images) if wanted and one.split == pool]
    drawn, issues = _draw(found, pool, [images[place] for place in places], wanted, seed, _within(alike, places))
    final = list(images)
    for place, split in zip(places, drawn, strict=True):
        final[place] = replace(final[place], split=split)
    if wanted and not issues:
        issues.append(_drawn_note(found, drawn, wanted, seed))
    if "test" not in (found.folders if found.has_splits else wanted):
        issues.append(Issue("note", "data-no-test-split"))
    if alike.too_many:
        issues.append(Issue("note", "data-too-many-to-compare", facts={"n": alike.too_many}))
    return SplitImages(tuple(final), similar_across(alike, [one.split for one in final]), tuple(issues))


def largest_remainder(n: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Divide n images of a class between the splits in `fractions`, and train.

    Every split gets its fraction rounded down, and those with the largest remainders one more, train first among
    equals. A fraction above 0 gets at least one image if there is one for each split.

    >>> largest_remainder(10, {"validation": 0.15, "test": 0.15})
    {'train': 7, 'validation': 2, 'test': 1}
    """
    exact = {name: n * Fraction(str(fraction)) for name, fraction in fractions.items()}
    exact = {REST: n - sum(exact.values(), Fraction(0)), **exact}
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: n - sum(counts.values())]:
        counts[name] += 1
    wanted = [name for name, fraction in fractions.items() if fraction > 0]
    for name in wanted if n > len(wanted) else ():
        if counts[name] == 0:
            counts[name], counts[REST] = 1, counts[REST] - 1
    return counts


def draw_splits(
    digests: Sequence[str],
    labels: Sequence[str],
    fractions: Mapping[str, float],
    seed: int,
    alike: Iterable[tuple[int, int]] = (),
) -> tuple[str, ...]:
    """Draw the split of each image.

    Args:
        digests: SHA-256 of each image, hexadecimal.
        labels: class of each image.
        fractions: 0-1 for each split except train, in the order in which they are filled.
        seed: another seed draws another split.
        alike: indexes of two similar images, which stay together, see `inseparable`.
    """
    ranks = uniform_words(digest_words(list(digests)), "split", seed)
    order = sorted(range(len(digests)), key=lambda index: (int(ranks[index]), digests[index]))
    place = {index: rank for rank, index in enumerate(order)}
    groups = inseparable(
        [digests[index] for index in order],
        [labels[index] for index in order],
        [(place[one], place[other]) for one, other in alike],
    )
    room = {label: largest_remainder(n, fractions) for label, n in Counter(labels).items()}
    chosen = [REST] * len(digests)
    members = [[order[rank] for rank in group] for group in groups]
    # Groups of several classes come first, while there is room for them in each class.
    for group in sorted(members, key=lambda group: len({labels[index] for index in group}) == 1):
        need = Counter(labels[index] for index in group)
        split = next((name for name in fractions if all(room[label][name] >= n for label, n in need.items())), REST)
        for index in group:
            chosen[index] = split
            room[labels[index]][split] -= 1
    return tuple(chosen)


def _splits_to_draw(found: LabeledImages, fractions: SplitFractions) -> tuple[dict[str, float], str]:
    """Return the fractions above 0 of the splits to draw, and the split they are taken from."""
    wanted = {"validation": fractions.validation, "test": fractions.test}
    if found.has_splits:
        del wanted["test"]
        if "validation" in found.folders:
            wanted = {}
    return {name: fraction for name, fraction in wanted.items() if fraction > 0}, REST if found.has_splits else UNSPLIT


def _draw(
    found: LabeledImages,
    pool: str,
    images: Sequence[ImageRecord],
    wanted: Mapping[str, float],
    seed: int,
    alike: Sequence[tuple[int, int]],
) -> tuple[tuple[str, ...], list[Issue]]:
    digests, labels = [one.digest for one in images], [one.label for one in images]
    splits: tuple[str, ...] = ()
    small: dict[str, int] = {}
    # If keeping similar images together makes a class too small, they are divided all the same, and warned of.
    for kept_together in [alike, []] if alike else [[]]:
        splits = draw_splits(digests, labels, wanted, seed, kept_together)
        small = _too_small(labels, splits, (REST, *wanted)) if wanted else {}
        if not small:
            return splits, []
    folder = found.folders[pool]
    facts = {
        "n": len(small),
        "counts": small,
        "splits": (REST, *wanted),
        "remedies": _remedies(wanted, max(small.values())),
    }
    return splits, [Issue("error", "data-class-too-small", (folder, *(folder / label for label in small)), facts)]


def _too_small(labels: Sequence[str], splits: Sequence[str], wanted: Collection[str]) -> dict[str, int]:
    """Return the number of images of each class that got no image in one of the splits."""
    filled, sizes = set(zip(labels, splits, strict=True)), Counter(labels)
    short = {label for label in sizes if any((label, split) not in filled for split in wanted)}
    return {label: sizes[label] for label in sorted(short)}


def _remedies(wanted: Mapping[str, float], largest: int) -> str:
    """Return everything that helps against classes that are too small."""
    remedies = ["add images"]
    if "test" in wanted:
        remedies.append("do without a test split (data.splits.test=0)")
    remedies += [f"leave small classes out (data.min_images={largest + 1})", "or put the images into split folders"]
    return f"Remedies: {', '.join(remedies)}"


def _within(alike: Similar, places: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pairs whose images are both at these places, as indexes of places; none if the search ended early."""
    numbers = {place: number for number, place in enumerate(places)}
    return [
        (numbers[one], numbers[other])
        for one, other, _ in alike.pairs
        if alike.complete and one in numbers and other in numbers
    ]


def _drawn_note(found: LabeledImages, drawn: Sequence[str], wanted: Mapping[str, float], seed: int) -> Issue:
    missing, source = (
        ("validation folder", "taken from train") if found.has_splits else ("split folders", "images divided")
    )
    counts = {name: drawn.count(name) for name in (REST, *wanted)}
    facts = {"missing": missing, "source": source, "seed": str(seed), "counts": counts}
    return Issue("note", "data-split-drawn", (Path(found.root),), facts)
