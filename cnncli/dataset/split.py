"""Draw validation and test splits of data without split folders.

The draw is seeded and stratified, and depends on the bytes of the images, not on their names or order. Identical and
similar images stay together. Adding images changes only the splits of images at the edges between two splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, product
from typing import TYPE_CHECKING, Any

from cnncli.dataset.duplicates import inseparable, similar
from cnncli.dataset.inheritance import inherited_splits
from cnncli.dataset.issues import Issue, error, messages_of, note, warning
from cnncli.dataset.perceptual_hash import Pair
from cnncli.dataset.records import SPLITS, UNSPLIT, ImageRecord, LabeledImages
from cnncli.runtime.random_keys import digest_words, uniform_words
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.config.data_settings import SplitFractions

REST = "train"  # split of all remaining images
UNLABELED = ("",)  # stands for the labels of an image without labels
OLD = "old"  # split of all images of a run while others are compared with them


@dataclass(frozen=True)
class SplitImages:
    """Images in their final splits.

    Attributes:
        images: The images.
        pairs: Similar images in different splits, as indexes of `images`.
        divided: Similar images of one split of the source, divided by drawing another split from it.
        issues: Notes about the draw, or an error if classes are too small for the splits.
    """

    images: tuple[ImageRecord, ...]
    pairs: tuple[Pair, ...]
    divided: tuple[Pair, ...]
    issues: tuple[Issue, ...]


def assign_splits(
    found: LabeledImages,
    images: Sequence[ImageRecord],
    fractions: SplitFractions,
    seed: int,
    console: Console | None,
    old: Sequence[ImageRecord] = (),
) -> SplitImages:
    """Assign the readable images of a source to their final splits.

    Similar images stay together unless that would leave a split without images of a class. If the images are added to
    `old` ones of a run, those that belong to them take their splits, and only the others are drawn.
    """
    names = ["validation"] if found.has_splits else ["validation", "test"]
    missing = {name: getattr(fractions, name) for name in names if name not in found.folders}
    missing = {name: fraction for name, fraction in missing.items() if fraction > 0}
    pool = REST if found.has_splits else UNSPLIT
    is_drawn = bool(missing) or not found.has_splits
    # Images that the run has take the splits of their digests. As pairs, they would count against the limit of these.
    known = {one.digest for one in images}
    looks = [one for one in old if one.facts.thumbnail and one.digest not in known] if is_drawn else []
    near = similar([*images, *(replace(one, split=OLD) for one in looks)], [pool] if missing else [], console)
    final, issues, n = list(images), list[Issue](), len(images)
    among = [pair for pair in near.pairs if max(pair[:2]) < n]
    if is_drawn:
        pooled = [one for one in images if one.split == pool]  # they come first in `images`
        alike = [pair for pair in among if max(pair[:2]) < len(pooled)] if near.is_complete else []
        resembled = [(one, looks[other - n].split, score) for one, other, score in near.pairs if other >= n]
        allowed = (REST, *missing) if found.has_splits else SPLITS
        taken = inherited_splits(pooled, old, alike, resembled if near.is_complete else [], allowed)
        drawn, found_issues = _draw_others(found, pooled, missing, seed, alike, old, taken)
        issues += found_issues
        final[: len(pooled)] = [replace(one, split=split) for one, split in zip(pooled, drawn, strict=True)]
    empty = tuple(name for name in missing if name not in {one.split for one in (*final, *old)})
    if final and empty and not messages_of(issues, "error"):
        issues.append(warning("data-split-empty", found.root, splits=empty))
    filled = {*missing, *(found.folders if found.has_splits else ())}
    if "validation" not in filled:
        issues.append(note("data-no-validation-split"))
    elif "test" not in filled:
        issues.append(note("data-no-test-split"))
    if not near.is_complete:
        issues.append(note("data-too-many-to-compare", n=n + len(looks)))
    if is_drawn and (unseen := sum(not one.facts.thumbnail and one.digest not in known for one in old)):
        issues.append(note("data-update-not-compared", n=unseen))
    pairs, divided = list[Pair](), list[Pair]()
    for one, other, score in among:
        if final[one].split != final[other].split:
            is_divided = found.has_splits and images[one].split == images[other].split
            (divided if is_divided else pairs).append((one, other, score))
    return SplitImages(tuple(final), tuple(pairs), tuple(divided), tuple(issues))


def limit_training(found: SplitImages, limit: int, seed: int) -> SplitImages:
    """Keep only some of the training images: one of each class first, then in the proportions of the classes.

    The images of a larger limit contain those of a smaller one with the same seed.
    """
    train = [index for index, one in enumerate(found.images) if one.split == REST]
    classes = {found.images[index].label for index in train}
    if limit < len(classes):
        issue = error("data-train-images-too-few", received=limit, minimum=len(classes))
    elif limit > len(train):
        issue = warning("data-train-images-too-many", received=limit, n=len(train))
    else:
        issue = note("data-train-images-limited", n=limit, total=len(train))
    left_out = set(_in_proportion([found.images[index] for index in train], train, seed)[limit:])
    kept = [index for index in range(len(found.images)) if index not in left_out]
    pairs, divided = (_renumbered(every, kept) for every in (found.pairs, found.divided))
    return SplitImages(tuple(found.images[index] for index in kept), pairs, divided, (*found.issues, issue))


def _renumbered(pairs: Iterable[Pair], kept: Sequence[int]) -> tuple[Pair, ...]:
    """Return the pairs of the images that are kept, with the numbers that these then have."""
    place = {index: number for number, index in enumerate(kept)}
    return tuple((place[one], place[other], score) for one, other, score in pairs if one in place and other in place)


def _in_proportion(images: Sequence[ImageRecord], indexes: Sequence[int], seed: int) -> list[int]:
    """Return the indexes of images in a random order of which each beginning has the proportions of the classes."""
    ranks = uniform_words(digest_words([one.digest for one in images]), "train images", seed).tolist()
    by_class: dict[str, list[tuple[int, int]]] = {}
    for one, rank, index in zip(images, ranks, indexes, strict=True):
        by_class.setdefault(one.label, []).append((rank, index))
    order = [
        (place > 0, (place + 0.5) / len(members), rank, index)
        for members in by_class.values()
        for place, (rank, index) in enumerate(sorted(members))
    ]
    return [index for *_, index in sorted(order)]


def largest_remainder(n: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Divide n images of a class between the splits in `fractions` and train.

    Every split gets its fraction rounded down, and the splits with the largest remainders get one more, train first
    among equals. A fraction above 0 gets at least one image if there are enough for all splits.

    >>> largest_remainder(10, {"validation": 0.15, "test": 0.15})
    {'train': 7, 'validation': 2, 'test': 1}
    """
    exact = {name: n * Fraction(str(fraction)) for name, fraction in fractions.items()}
    exact = {REST: n - sum(exact.values(), Fraction(0)), **exact}
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: n - sum(counts.values())]:
        counts[name] += 1
    filled = [name for name, fraction in fractions.items() if fraction > 0]
    for name in filled if n > len(filled) else ():
        if counts[name] == 0:
            counts[name], counts[REST] = 1, counts[REST] - 1
    return counts


def draw_splits(
    digests: Sequence[str],
    labels: Sequence[tuple[str, ...]],
    fractions: Mapping[str, float],
    seed: int,
    alike: Iterable[Pair] = (),
    groups: Sequence[str] = (),
) -> tuple[str, ...]:
    """Draw the split of each image.

    A split takes groups until its fraction of each of their labels is reached: with `groups`, which can be large, as
    closely as possible. Images with several labels are drawn by their rarest label, the rarest of all first, as in
    iterative stratification (Sechidis et al. 2011), so that rare labels find room in every split.

    Args:
        digests: SHA-256 of each image, hexadecimal.
        labels: Labels of each image, at least one.
        fractions: 0-1 for each split except train, in the order in which splits are filled.
        seed: Seed of the draw.
        alike: Pairs of similar images, which stay together; see `inseparable`.
        groups: Name of the group of each image, which stays together; empty if there are none.
    """
    ranks = uniform_words(digest_words(list(digests)), "split", seed)

    sizes = Counter(chain.from_iterable(labels))
    is_multi_label = any(len(names) > 1 for names in labels)

    def order(group: Sequence[int]) -> tuple[bool, int, tuple[int, str]]:
        """Sort groups by rank, and those of several classes first, while there is room in each class."""
        first, kinds = min((int(ranks[index]), digests[index]) for index in group), {labels[index] for index in group}
        return len(kinds) == 1, min(map(sizes.__getitem__, chain(*kinds))) if is_multi_label else 0, first

    room = {label: largest_remainder(n, fractions) for label, n in sizes.items()}
    chosen = [REST] * len(digests)
    most = 2 if groups else 1  # a group of up to twice the room leaves the split closer to its fraction than without it
    parts = sorted(inseparable(digests, labels, alike, groups), key=order)
    for part in parts:
        need = Counter(chain.from_iterable(labels[index] for index in part))
        split = next((name for name in fractions if all(most * room[one][name] >= n for one, n in need.items())), REST)
        for index in part:
            chosen[index] = split
        for label, n in need.items():
            room[label][split] -= n
    if groups:
        _fill_splits(chosen, labels, parts, list(fractions))
    return tuple(chosen)


def _fill_splits(
    chosen: list[str], labels: Sequence[tuple[str, ...]], parts: Sequence[Sequence[int]], names: Sequence[str]
) -> None:
    """Move the smallest group of a class to each split without an image of the class, from one that has two.

    Groups are taken from train, or else from the first other split that has two.
    """
    for name, label in product(names, sorted(set(chain.from_iterable(labels)))):
        of_class = [part for part in parts if any(label in labels[index] for index in part)]
        by_split = [[part for part in of_class if chosen[part[0]] == split] for split in (REST, *names)]
        spare = next((found for found in by_split if len(found) > 1), None)
        if spare and all(chosen[part[0]] != name for part in of_class):
            for index in min(spare, key=len):
                chosen[index] = name


def _draw_others(
    found: LabeledImages,
    images: Sequence[ImageRecord],
    fractions: dict[str, float],
    seed: int,
    alike: Sequence[Pair],
    old: Sequence[ImageRecord],
    taken: Mapping[int, str],
) -> tuple[list[str], list[Issue]]:
    """Return the split of each image, drawn unless it is `taken` from a run with `old` images, and notes about it."""
    if not taken:
        drawn, issue = _draw(found, images, fractions, seed, alike, old)
        return list(drawn), [issue]
    digests = {one.digest for one in old}
    issues = [note("data-split-inherited", n=n)] if (n := sum(images[p].digest not in digests for p in taken)) else []
    splits, others = dict(taken), [place for place in range(len(images)) if place not in taken]
    if others:
        known = (*old, *(replace(images[place], split=split) for place, split in taken.items()))
        rest = [images[place] for place in others]
        drawn, issue = _draw(found, rest, fractions, seed, _renumbered(alike, others), known)
        splits |= zip(others, drawn, strict=True)
        issues.append(issue)
    return [splits[place] for place in range(len(images))], issues


def _draw(
    found: LabeledImages,
    images: Sequence[ImageRecord],
    fractions: dict[str, float],
    seed: int,
    alike: Sequence[Pair],
    others: Iterable[ImageRecord],
) -> tuple[tuple[str, ...], Issue]:
    """Draw the split of each image; return it with a note about the draw, or an error if classes are too small.

    A class is complete if, together with `others`, whose splits are known, it has an image in every split.
    """
    digests, labels = [one.digest for one in images], [one.labels or UNLABELED for one in images]
    groups = [one.group for one in images if one.group]
    names, sizes = (REST, *fractions), Counter(chain.from_iterable(labels))
    needed = (REST,) if found.is_multi_label else names  # a rare label need not be in every split
    filled = {(label, one.split) for one in others for label in one.labels}
    drawn = draw_splits(digests, labels, fractions, seed, alike, groups)
    if alike and _incomplete_classes(labels, drawn, needed, filled):
        # Similar images are divided, which is a warning.
        drawn = draw_splits(digests, labels, fractions, seed, groups=groups)
    if small := {label: sizes[label] for label in _incomplete_classes(labels, drawn, needed, filled)}:
        pool = REST if found.has_splits else UNSPLIT
        paths = dict.fromkeys(found.place(pool, label) for label in ("", *small))
        facts: dict[str, Any] = {"counts": small, "splits": names, "remedies": _remedies(small, sizes, names, groups)}
        if not groups:
            return drawn, error("data-class-too-small", *paths, **facts)
        pairs = {(label, group) for several, group in zip(labels, groups, strict=True) for label in several}
        facts["groups"] = {label: n for label, n in Counter(label for label, _ in pairs).items() if label in small}
        return drawn, error("data-class-few-groups", *paths, **facts)
    missing, source = (
        ("validation folder", "images taken from train") if found.has_splits else ("split folders", "images split")
    )
    counts = {name: drawn.count(name) for name in names}
    return drawn, note("data-split-drawn", found.root, missing=missing, source=source, seed=str(seed), counts=counts)


def _remedies(small: Mapping[str, int], sizes: Mapping[str, int], splits: Sequence[str], groups: Sequence[str]) -> str:
    """Return what can be done about classes that are too small for the splits."""
    remedies = ["add images of other groups", "name smaller groups (data.groups)"] if groups else ["add images"]
    if "test" in splits:
        remedies.append("do without a test split (data.splits.test=0)")
    if sum(n > max(small.values()) for n in sizes.values()) > 1:
        remedies.append(f"leave small classes out (data.min_images={max(small.values()) + 1})")
    return f"Remedies: {', '.join(remedies)}, or put the images into split folders"


def _incomplete_classes(
    labels: Sequence[tuple[str, ...]], splits: Sequence[str], names: Iterable[str], filled: Collection[tuple[str, str]]
) -> list[str]:
    """Return the classes without images in one of the splits; `filled` has labels and splits of further images."""
    drawn = {(label, split) for several, split in zip(labels, splits, strict=True) for label in several}
    classes, filled = {label for label, _ in drawn} - set(UNLABELED), drawn | {*filled}
    return sorted({label for label, split in product(classes, names) if (label, split) not in filled})
