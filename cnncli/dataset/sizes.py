"""What is odd about the numbers of images: small or uneven classes, shares unlike those in train, swapped splits."""

from __future__ import annotations

from collections.abc import Mapping

from cnncli.errors import printable

FEW = 10
"""Classes with fewer training images are remarked on."""
UNEVEN = 3.0
"""So many times another class of the split, and so many times its share in train, is remarked on."""
SWAPPED = 1.5
"""A split with so many times the images of train may have changed places with it."""
SHOWN = 5
"""So many classes are named; the number of all is told."""

Counts = Mapping[str, Mapping[str, int]]


def size_warnings(counts: Counts) -> list[str]:
    """A sentence about each oddity; none of them keeps a folder from being trained on.

    Args:
        counts: images by split and class; what is trained on comes first.
    """
    (first, training), *others = counts.items()
    lines = _small(training)
    for split, of_split in counts.items():
        lines += _uneven(split, of_split)
    for split, of_split in others:
        lines += _other_shares(split, of_split, training)
        lines += _swapped(split, of_split, first, training)
    return lines


def _small(training: Mapping[str, int]) -> list[str]:
    small = {label: n for label, n in training.items() if 0 < n < FEW}
    if not small:
        return []
    named = _named({label: f"{n}" for label, n in sorted(small.items(), key=lambda item: item[1])})
    return [f"classes with fewer than {FEW} images to train on: {len(small):,} ({named})"]


def _uneven(split: str, of_split: Mapping[str, int]) -> list[str]:
    filled = {label: n for label, n in of_split.items() if n}
    small, large = min(filled, key=filled.__getitem__, default=""), max(filled, key=filled.__getitem__, default="")
    if not filled or filled[large] < UNEVEN * filled[small]:
        return []
    return [
        f"{split}: {printable(large)} has {filled[large]:,} images, {printable(small)} {filled[small]:,}"
        + ("; data.class_weights: balanced evens this out in training" if split == "train" else "")
    ]


def _other_shares(split: str, of_split: Mapping[str, int], training: Mapping[str, int]) -> list[str]:
    n, n_training = sum(of_split.values()), sum(training.values())
    if not n or not n_training:
        return []
    shares = {
        label: (count / n, training[label] / n_training) for label, count in of_split.items() if training.get(label)
    }
    odd = {
        label: f"{here:.0%}, in train {there:.0%}"
        for label, (here, there) in shares.items()
        if not 1 / UNEVEN < here / there < UNEVEN
    }
    if not odd:
        return []
    return [f"{split}: classes with another share of the images than in train: {len(odd):,} ({_named(odd)})"]


def _swapped(split: str, of_split: Mapping[str, int], first: str, training: Mapping[str, int]) -> list[str]:
    here, there = sum(of_split.values()), sum(training.values())
    if here <= SWAPPED * there:
        return []
    return [f"{split} has {here:,} images and {first} only {there:,}: are the two folders swapped?"]


def _named(labels: Mapping[str, str]) -> str:
    named = [f"{printable(label)} {text}" for label, text in list(labels.items())[:SHOWN]]
    return "; ".join([*named, "…"] if len(labels) > SHOWN else named)
