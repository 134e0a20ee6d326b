"""Identical files, similar images, and groups of images that belong on one side of every split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from cnncli.dataset.perceptual_hash import Looks, Similar, similar_pairs
from cnncli.dataset.records import ImageRecord
from cnncli.dataset.watching import Progress

Group = tuple[ImageRecord, ...]

CROWD = 10
CROWD_FRACTION = 0.1
"""More than `CROWD` different images that are more than this fraction of a class are not copies."""


def identical(images: Iterable[ImageRecord]) -> list[Group]:
    """Return the groups of two and more images with the same bytes, in the order of their first members."""
    groups: dict[str, list[ImageRecord]] = defaultdict(list)
    for image in images:
        groups[image.digest].append(image)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def across_splits(groups: Iterable[Group]) -> list[Group]:
    """Return the first image of each split for each group that is in several splits."""
    found = [tuple({one.split: one for one in reversed(group)}.values())[::-1] for group in groups]
    return [group for group in found if len(group) > 1]


def within_splits(groups: Iterable[Group]) -> list[Group]:
    """Return the parts of groups that have two and more members in one split."""
    parts = [
        tuple(one for one in group if one.split == split)
        for group in groups
        for split in dict.fromkeys(one.split for one in group)
    ]
    return [part for part in parts if len(part) > 1]


def across_labels(groups: Iterable[Group]) -> list[Group]:
    """Return the first image of each label for each group that has several labels within one split."""
    found = []
    for group in within_splits(groups):
        first = {one.label: one for one in reversed(group)}
        if len(first) > 1:
            found.append(tuple(first.values())[::-1])
    return found


def similar(images: Sequence[ImageRecord], pools: Collection[str] = (), progress: Progress | None = None) -> Similar:
    """Find pairs of images that look alike and are in different splits, identical files left out.

    Args:
        images: readable images.
        pools: splits whose images are also compared with each other.
        progress: receives the number of comparisons done and in total.
    """
    looks = Looks.of([one.facts.thumbnail for one in images])
    parts = _distinct_by_split(images)
    within = [number for number, split in enumerate(parts) if split in pools]
    found = similar_pairs(looks, [np.array(places, np.int64) for places in parts.values()], within, progress=progress)
    pairs = [pair for pair in found.pairs if images[pair[0]].digest != images[pair[1]].digest]
    return replace(found, pairs=tuple(pairs))


def similar_across(found: Similar, splits: Sequence[str]) -> Similar:
    """Keep only the pairs in different splits, given the split of every image."""
    return replace(found, pairs=tuple(pair for pair in found.pairs if splits[pair[0]] != splits[pair[1]]))


def inseparable(digests: Sequence[str], labels: Sequence[str], alike: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Group images that must not be divided between splits: identical and similar ones.

    If so many images look alike that they are a crowd, such as the images of one scene, only identical ones form a
    group: kept together, they would leave a split with nothing but images unlike them.

    Args:
        digests: SHA-256 of each image.
        labels: class of each image.
        alike: indexes of two similar images.

    Returns:
        Indexes of all images in groups, in the order of their first members.

    >>> inseparable(["a", "b", "a", "c"], ["x"] * 4, [(1, 3)])
    [[0, 2], [1, 3]]
    """
    first: dict[str, int] = {}
    heads = [first.setdefault(digest, place) for place, digest in enumerate(digests)]
    roots = _connected(len(heads), ((heads[one], heads[other]) for one, other in alike))
    sizes = Counter(labels)
    groups = _group_by(range(len(heads)), [roots[head] for head in heads])
    parts = [
        part
        for group in groups
        for part in (_group_by(group, heads) if _is_crowd(group, heads, labels, sizes) else [group])
    ]
    return sorted(parts, key=lambda group: group[0])


def _connected(n: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Return for each of n places the first place it is connected to, over any number of links."""
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


def _group_by(places: Iterable[int], keys: Sequence[int]) -> list[list[int]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for place in places:
        groups[keys[place]].append(place)
    return list(groups.values())


def _is_crowd(group: Sequence[int], heads: Sequence[int], labels: Sequence[str], sizes: Counter[str]) -> bool:
    if len(group) <= CROWD or len({heads[place] for place in group}) <= CROWD:
        return False
    counts = Counter(labels[place] for place in group)
    return any(count > CROWD_FRACTION * sizes[label] for label, count in counts.items())


def _distinct_by_split(images: Sequence[ImageRecord]) -> dict[str, list[int]]:
    """Return the indexes of the images of each split, of identical ones the first."""
    seen: set[tuple[str, str]] = set()
    parts: dict[str, list[int]] = {}
    for place, one in enumerate(images):
        if (one.split, one.digest) not in seen:
            seen.add((one.split, one.digest))
            parts.setdefault(one.split, []).append(place)
    return parts
