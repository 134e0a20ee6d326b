"""Identical files, similar images, and groups of images that must stay in the same split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import replace
from heapq import nlargest
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.perceptual_hash import Looks, Pair, Similar, similar_pairs
from cnncli.dataset.records import ImageRecord
from cnncli.terminal.console import Console

Group = tuple[ImageRecord, ...]
Item = TypeVar("Item")

MOST_LISTED = 1_000
"""Maximum number of pairs of similar images in the files of a run."""
CROWD = 10
CROWD_FRACTION = 0.1  # more than `CROWD` different images that are more than this fraction of a class are not copies


def identical(images: Iterable[ImageRecord]) -> list[Group]:
    """Return groups of at least two images with the same bytes, in the order of their first members."""
    return [tuple(group) for group in _group_by(images, lambda one: one.digest) if len(group) > 1]


def across_splits(groups: Iterable[Group]) -> list[Group]:
    """Return the first image of each split, for each group that is in several splits."""
    return _firsts(groups, lambda one: one.split)


def within_splits(groups: Iterable[Group]) -> list[Group]:
    """Return the parts of groups that have at least two members in one split."""
    parts = (part for group in groups for part in _group_by(group, lambda one: one.split))
    return [tuple(part) for part in parts if len(part) > 1]


def across_labels(groups: Iterable[Group]) -> list[Group]:
    """Return the first image of each label, for each group with several labels in one split."""
    return _firsts(within_splits(groups), lambda one: one.label)


def _firsts(groups: Iterable[Group], key: Callable[[ImageRecord], str]) -> list[Group]:
    """Return the first image for each value of a key, for each group with several values."""
    found = [tuple({key(one): one for one in reversed(group)}.values())[::-1] for group in groups]
    return [group for group in found if len(group) > 1]


def similar(images: Sequence[ImageRecord], pools: Collection[str] = (), console: Console | None = None) -> Similar:
    """Find similar images in different splits or within one of `pools`, except identical files."""
    parts = _distinct(images)
    within = [number for number, part in enumerate(parts) if images[part[0]].split in pools]
    found = similar_pairs(Looks.of([one.facts.thumbnail for one in images]), parts, within, console)
    pairs = [pair for pair in found.pairs if images[pair[0]].digest != images[pair[1]].digest]
    return replace(found, pairs=tuple(pairs))


def _distinct(images: Sequence[ImageRecord]) -> list[NDArray[np.int64]]:
    """Return the indexes of the images of each split without repetitions of identical files."""
    first: dict[str, dict[str, int]] = defaultdict(dict)
    for place, one in enumerate(images):
        first[one.split].setdefault(one.digest, place)
    return [np.array(list(places.values())) for places in first.values()]


def most_similar(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """Return all pairs or, of more than `MOST_LISTED`, the most similar ones, the most similar first.

    Small images of few kinds, such as those of Fashion-MNIST, have tens of thousands of pairs.
    """
    return pairs if len(pairs) <= MOST_LISTED else nlargest(MOST_LISTED, pairs, key=lambda pair: pair[2])


def inseparable(
    digests: Sequence[str], labels: Sequence[Hashable], alike: Iterable[Pair], groups: Sequence[str] = ()
) -> list[list[int]]:
    """Group images that must not be divided between splits because they are identical, similar or of one group.

    If many images of a class are similar, such as images of one scene, only identical ones form a group. Otherwise a
    split would be left only with images unlike them.

    `alike` has the pairs of similar images, `groups` a name for each image. Returns the indexes of all images in
    groups, in the order of their first members.

    >>> inseparable(["a", "b", "a", "c"], ["x"] * 4, [(1, 3, 0.95)])
    [[0, 2], [1, 3]]
    """
    first: dict[str, int] = {}
    heads = [first.setdefault(digest, place) for place, digest in enumerate(digests)]
    if groups:
        members = _group_by(range(len(heads)), groups.__getitem__)
        heads = connected(len(heads), [*enumerate(heads), *((one[0], other) for one in members for other in one)])
    roots = connected(len(heads), ((heads[one], heads[other]) for one, other, _ in alike))
    sizes = Counter(labels)
    parts: list[list[int]] = []
    for group in _group_by(range(len(heads)), lambda place: roots[heads[place]]):
        is_crowd = len({heads[place] for place in group}) > CROWD and any(
            count > CROWD_FRACTION * sizes[label] for label, count in Counter(labels[place] for place in group).items()
        )
        parts += _group_by(group, heads.__getitem__) if is_crowd else [group]
    return sorted(parts, key=lambda group: group[0])


def connected(n: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Return for each of n items the first item it is connected to, directly or through others."""
    parents = list(range(n))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    for one, other in links:
        low, high = sorted((root(one), root(other)))
        parents[high] = low
    return [root(place) for place in range(n)]


def _group_by(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """Group items by a key, in the order of the first items."""
    groups: dict[Hashable, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())
