"""A seeded, stratified split: which images of data without split folders become validation and test.

It depends on the images' bytes and the seed alone, neither on their names nor on their order. Identical files stay
together, and so do images that look alike. Each class is divided exactly, by largest remainders. When images are
added, only those at the edges between two splits change sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from cnncli.dataset.together import together
from cnncli.runtime.random_keys import digest_words, uniform_words

REST = "train"
"""The split of every image that no other split takes."""


def largest_remainder(n: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Divide n images of a class: so many for each split in `shares`, and the rest for train.

    Every split gets its share rounded down, and those with the largest remainders one more, train first among equals.
    A share above 0 gets at least one image where there is one for each split.

    >>> largest_remainder(10, {"validation": 0.15, "test": 0.15})
    {'train': 7, 'validation': 2, 'test': 1}
    """
    exact = {name: n * Fraction(str(share)) for name, share in shares.items()}
    exact = {REST: n - sum(exact.values(), Fraction(0)), **exact}
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: n - sum(counts.values())]:
        counts[name] += 1
    wanted = [name for name, share in shares.items() if share > 0]
    for name in wanted if n > len(wanted) else ():
        if counts[name] == 0:
            counts[name], counts[REST] = 1, counts[REST] - 1
    return counts


def split_images(
    digests: Sequence[str],
    labels: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
    alike: Iterable[tuple[int, int]] = (),
) -> tuple[str, ...]:
    """The split of each image.

    Args:
        digests: SHA-256 of each image's bytes, hexadecimal.
        labels: class of each image.
        shares: 0-1 for each split but train, in the order in which they are filled.
        seed: another seed draws another split.
        alike: places of two images that look alike and stay together, see `together`.
    """
    ranks = uniform_words(digest_words(list(digests)), "split", seed)
    order = sorted(range(len(digests)), key=lambda index: (int(ranks[index]), digests[index]))
    place = {index: rank for rank, index in enumerate(order)}
    groups = together(
        [digests[index] for index in order],
        [labels[index] for index in order],
        [(place[one], place[other]) for one, other in alike],
    )
    room = {label: largest_remainder(n, shares) for label, n in Counter(labels).items()}
    chosen = [REST] * len(digests)
    members = [[order[rank] for rank in group] for group in groups]
    # Images that lie in several classes come first, as long as there is room for them in each.
    for group in sorted(members, key=lambda group: len({labels[index] for index in group}) == 1):
        need = Counter(labels[index] for index in group)
        split = next((name for name in shares if all(room[label][name] >= n for label, n in need.items())), REST)
        for index in group:
            chosen[index] = split
            room[labels[index]][split] -= 1
    return tuple(chosen)
