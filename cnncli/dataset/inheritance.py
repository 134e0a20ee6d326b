"""Splits that images take from the images of a run to which they are added.

Images of a group of the run, and copies of its images, would otherwise be on both sides of a split.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from cnncli.dataset.duplicates import inseparable
from cnncli.dataset.perceptual_hash import Pair
from cnncli.dataset.records import SPLITS, ImageRecord

Resemblance = tuple[int, str, float]
"""Index of an image, split of the image of the run that it resembles, and the correlation of their brightness (0-1)."""


def inherited_splits(
    images: Sequence[ImageRecord],
    old: Iterable[ImageRecord],
    alike: Iterable[Pair],
    resembled: Iterable[Resemblance],
    allowed: Collection[str],
) -> dict[int, str]:
    """Return the splits that images take from those of a run, by index, without images that have no relation to it.

    An image takes the split of its group or, if it is identical with an image of the run, of that image. Images that
    must stay together take a split if one of them does. Only groups without such an image take that of the most
    similar image of the run.

    Args:
        images: The images, with digests.
        old: Images of the run, in the order of their splits.
        alike: Pairs of similar images among `images`.
        resembled: Images of the run that are similar to one of `images`.
        allowed: Splits that can be taken.
    """
    by_group, by_digest = dict[str, str](), dict[str, str]()
    for one in old:
        by_group.setdefault(one.group, one.split)
        by_digest.setdefault(one.digest, one.split)
    by_group.pop("", None)
    own, nearest = dict[int, str](), dict[int, tuple[float, str]]()
    for place, one in enumerate(images):
        split = by_digest.get(one.digest) or by_group.get(one.group)
        if split and split in allowed:
            own[place] = split
    for place, split, score in resembled:
        if split in allowed:
            nearest[place] = max((score, split), nearest.get(place, (0.0, "")))
    digests, labels = [one.digest for one in images], [one.labels for one in images]
    groups = [one.group for one in images] if any(one.group for one in images) else []
    found = dict[int, str]()
    for part in inseparable(digests, labels, alike, groups):
        splits = sorted({own[place] for place in part if place in own}, key=SPLITS.index)
        splits += [split for _, split in sorted((nearest[place] for place in part if place in nearest), reverse=True)]
        if splits:
            found |= {place: own.get(place, splits[0]) for place in part}
    return found


def divided_groups(images: Iterable[ImageRecord], old: Iterable[ImageRecord]) -> dict[str, tuple[str, str]]:
    """Return the groups of images that are in another split in a run, with their split and that of the run."""
    known: dict[str, list[str]] = {}
    for one in old:
        if one.group and one.split not in (splits := known.setdefault(one.group, [])):
            splits.append(one.split)
    return {
        one.group: (one.split, known[one.group][0])
        for one in images
        if one.group in known and one.split not in known[one.group]
    }
