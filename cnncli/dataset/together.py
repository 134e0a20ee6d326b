"""Images that belong on the same side of every split: equal ones, and those that look alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

CROWD = 10
CROWD_SHARE = 0.1
"""More than so many different images, and more than this share of a class, are no copies: the data is like that."""


def together(digests: Sequence[str], labels: Sequence[str], alike: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The places of all images in groups that are not to be divided, in the order of their first members.

    Where so many look alike that they are a crowd, such as the images of one scene, only equal ones are a group:
    kept together they would leave a split with nothing but what is unlike them.

    Args:
        digests: SHA-256 of each image's bytes; equal ones belong together.
        labels: class of each image.
        alike: places of two images that look alike.

    >>> together(["a", "b", "a", "c"], ["x"] * 4, [(1, 3)])
    [[0, 2], [1, 3]]
    """
    first: dict[str, int] = {}
    heads = [first.setdefault(digest, place) for place, digest in enumerate(digests)]
    roots = _joined(len(heads), ((heads[one], heads[other]) for one, other in alike))
    sizes = Counter(labels)
    groups = _by(range(len(heads)), [roots[head] for head in heads])
    divided = [
        part for group in groups for part in (_by(group, heads) if _is_crowd(group, heads, labels, sizes) else [group])
    ]
    return sorted(divided, key=lambda group: group[0])


def _joined(n: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """For each of n places the first one it is linked to, over any number of links."""
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


def _by(places: Iterable[int], keys: Sequence[int]) -> list[list[int]]:
    """Places of one key in a list of their own."""
    groups: dict[int, list[int]] = defaultdict(list)
    for place in places:
        groups[keys[place]].append(place)
    return list(groups.values())


def _is_crowd(group: Sequence[int], heads: Sequence[int], labels: Sequence[str], sizes: Counter[str]) -> bool:
    if len(group) <= CROWD or len({heads[place] for place in group}) <= CROWD:
        return False
    counts = Counter(labels[place] for place in group)
    return any(count > CROWD_SHARE * sizes[label] for label, count in counts.items())
