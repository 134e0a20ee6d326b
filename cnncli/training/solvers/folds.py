"""Folds of a cross-validation: stratified, with groups that stay together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.duplicates import connected
from cnncli.runtime.random_keys import digest_words, uniform_words


def stratified_folds(
    labels: NDArray[Any], digests: Sequence[str], groups: Sequence[str], n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Return the fold of each image, 0 to n_folds - 1, with nearly the same number of each class in every fold.

    Images with equal digests, images of a group, and groups that share an image are in one fold. The folds depend on
    the seed and the images, not on their order. Like scikit-learn's StratifiedGroupKFold, groups are placed one after
    another, those with the most uneven classes first, where the counts of classes stay most even.

    Args:
        labels: int64 (n,) class of each image, or uint8 (n, classes) with 1 for each label.
        digests: SHA-256 of each image, hexadecimal, length n.
        groups: Name of each image's group, length n; "" for none. Empty if there are no groups.
        n_folds: Number of folds, at least 2.
        seed: Seed of the order in which groups are placed.
    """
    one_hot = labels if labels.ndim == 2 else np.eye(int(labels.max()) + 1, dtype=np.int64)[labels]
    units = units_of(digests, groups)
    first = [min(digests[index] for index in members) for members in units]
    ranks = uniform_words(digest_words(first), "folds", seed)
    if labels.ndim == 1 and len(units) == len(digests):
        return _deal(labels, ranks, n_folds)
    counts = np.array([one_hot[members].sum(axis=0) for members in units], np.float64)
    folds = np.empty(len(digests), np.int64)
    for fold, members in zip(_place(counts, ranks, n_folds), units, strict=True):
        folds[members] = fold
    return folds


def units_of(digests: Sequence[str], groups: Sequence[str]) -> list[list[int]]:
    """Return the indexes of the images that must not be divided, because they are equal or of one group.

    >>> units_of(["a", "b", "a", "c"], ["x", "x", "y", ""])
    [[0, 1, 2], [3]]
    """
    first: dict[tuple[str, str], int] = {}
    links = [(place, first.setdefault(("digest", digest), place)) for place, digest in enumerate(digests)]
    links += [(place, first.setdefault(("group", name), place)) for place, name in enumerate(groups) if name]
    units: dict[int, list[int]] = {}
    for place, root in enumerate(connected(len(digests), links)):
        units.setdefault(root, []).append(place)
    return list(units.values())


def _deal(labels: NDArray[Any], ranks: NDArray[np.uint64], n_folds: int) -> NDArray[np.int64]:
    """Deal the images of each class out in the order of their ranks; each class begins where the one before it ends."""
    order = np.lexsort((ranks, labels))
    folds = np.empty(len(labels), np.int64)
    folds[order] = np.arange(len(labels)) % n_folds
    return folds


def _place(counts: NDArray[np.float64], ranks: NDArray[np.uint64], n_folds: int) -> NDArray[np.int64]:
    """Place units with counts (units, classes) one after another where the classes stay most even."""
    total = np.maximum(counts.sum(axis=0), 1)
    held, sizes = np.zeros((n_folds, counts.shape[1])), Counter[int]()
    chosen = np.empty(len(counts), np.int64)
    for unit in np.lexsort((ranks, -counts.std(axis=1))):
        spread = [
            ((held + (np.arange(n_folds) == fold)[:, None] * counts[unit]) / total).std(axis=0).mean()
            for fold in range(n_folds)
        ]
        fold = min(range(n_folds), key=lambda one: (round(spread[one], 12), sizes[one]))
        chosen[unit], held[fold] = fold, held[fold] + counts[unit]
        sizes[fold] += int(counts[unit].sum())
    return chosen
