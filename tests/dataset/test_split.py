"""Properties of the seeded split: exact, stratified, independent of names and order, stable if images are added."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cnncli.dataset.duplicates import inseparable
from cnncli.dataset.records import ImageRecord
from cnncli.dataset.split import SplitImages, draw_splits, largest_remainder, limit_training
from cnncli.images.verify import ImageFacts

FRACTIONS = {"validation": 0.15, "test": 0.15}
fractions = st.integers(0, 49).map(lambda percent: percent / 100)
fractions_of_splits = st.fixed_dictionaries({"validation": fractions, "test": fractions})


def digest(text: object) -> str:
    """Return a digest that stands for an image."""
    return hashlib.sha256(str(text).encode()).hexdigest()


images = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(["cats", "dogs", "owls"])), max_size=120).map(
    lambda found: [(digest(number), label) for number, label in found]
)


def split(found: list[tuple[str, str]], wanted: dict[str, float], seed: int = 0) -> tuple[str, ...]:
    """Return the split of each image; images are given as (digest, label)."""
    return draw_splits([one for one, _ in found], [(label,) for _, label in found], wanted, seed)


def test_counts_by_hand() -> None:
    """Counts match examples computed by hand; of equal remainders, the split that is named first is rounded up."""
    assert largest_remainder(10, FRACTIONS) == {"train": 7, "validation": 2, "test": 1}
    assert largest_remainder(1000, FRACTIONS) == {"train": 700, "validation": 150, "test": 150}
    assert largest_remainder(100, {"validation": 0.29, "test": 0.07}) == {"train": 64, "validation": 29, "test": 7}
    assert largest_remainder(7, {"validation": 0.15}) == {"train": 6, "validation": 1}
    assert largest_remainder(10, {"validation": 0.2, "test": 0.0}) == {"train": 8, "validation": 2, "test": 0}


def test_small_classes_give_one_image_to_each_split_if_possible() -> None:
    """Each split contains at least one image of every class that has enough images for all splits."""
    assert largest_remainder(3, FRACTIONS) == {"train": 1, "validation": 1, "test": 1}
    assert largest_remainder(2, FRACTIONS)["train"] == 2
    assert largest_remainder(0, FRACTIONS) == {"train": 0, "validation": 0, "test": 0}


@given(st.integers(0, 5000), fractions_of_splits)
def test_counts_add_up_and_are_off_by_less_than_one(n: int, wanted: dict[str, float]) -> None:
    """Counts add up to n and are off by less than one, except in train if splits are topped up to one image."""
    counts = largest_remainder(n, wanted)
    exact = {name: n * Fraction(str(fraction)) for name, fraction in wanted.items()}
    assert sum(counts.values()) == n
    assert all(count >= 0 for count in counts.values())
    topped_up = sum(1 for name, count in counts.items() if name in exact and count == 1 and exact[name] < 1)
    for name, value in exact.items():
        assert abs(counts[name] - value) < 1
    assert abs(counts["train"] - (n - sum(exact.values()))) < 1 + topped_up


@given(images, fractions_of_splits, st.integers(0, 2**40))
def test_equal_files_stay_together_and_counts_are_exact(
    found: list[tuple[str, str]], wanted: dict[str, float], seed: int
) -> None:
    """Equal files share a split; counts are exact without copies, and with copies, only train can exceed its count."""
    splits = split(found, wanted, seed)
    homes = defaultdict(set)
    for (one, _), name in zip(found, splits, strict=True):
        homes[one].add(name)
    assert all(len(names) == 1 for names in homes.values())
    counts = Counter(zip((label for _, label in found), splits, strict=True))
    for label, n in Counter(label for _, label in found).items():
        for name, count in largest_remainder(n, wanted).items():
            if len(homes) == len(found):
                assert counts[label, name] == count
            elif name != "train":
                assert counts[label, name] <= count


@given(images, st.randoms(use_true_random=False), st.integers(0, 2**40))
def test_order_does_not_matter(found: list[tuple[str, str]], random: object, seed: int) -> None:
    """The split of each image does not depend on the order in which images are listed."""
    before = Counter(zip(found, split(found, FRACTIONS, seed), strict=True))
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert Counter(zip(shuffled, split(shuffled, FRACTIONS, seed), strict=True)) == before


@given(st.integers(3, 400), st.integers(1, 10), st.integers(0, 10**9))
def test_added_images_move_few_existing_ones(n: int, added: int, seed: int) -> None:
    """Each added image changes the split of at most two existing images, one at each boundary between splits."""
    old = [(digest((seed, k)), "cats") for k in range(n)]
    new = [(digest((seed, "new", k)), "cats") for k in range(added)]
    before, after = split(old, FRACTIONS, seed), split(old + new, FRACTIONS, seed)[:n]
    assert sum(one != other for one, other in zip(before, after, strict=True)) <= 2 * added


def test_seeds_draw_different_splits() -> None:
    """Different seeds draw different splits, and the same seed always draws the same split."""
    found = [(digest(k), "cats") for k in range(200)]
    splits = {split(found, FRACTIONS, seed) for seed in range(5)}
    assert len(splits) == 5
    assert split(found, FRACTIONS, 3) == split(found, FRACTIONS, 3)


def test_classes_are_split_independently() -> None:
    """Adding a class does not change how the images of another class are split."""
    cats = [(digest(k), "cats") for k in range(50)]
    dogs = [(digest((k, "dog")), "dogs") for k in range(77)]
    assert split(cats + dogs, FRACTIONS)[:50] == split(cats, FRACTIONS)


def test_splits_are_filled_up_with_single_files() -> None:
    """If a group of copies does not fit into a split, the split is filled with single images instead."""
    found = [(digest("copy"), "cats")] * 6 + [(digest(k), "cats") for k in range(14)]
    counts = Counter(split(found, FRACTIONS))
    assert counts == {"train": 14, "validation": 3, "test": 3}


def test_a_file_in_two_classes_is_in_one_split() -> None:
    """A file that occurs in two classes is assigned to one split, so that it does not leak."""
    found = [(digest(k), label) for k in range(100) for label in ("cats", "dogs")]
    splits = split(found, FRACTIONS, 1)
    assert splits[::2] == splits[1::2]
    assert Counter(splits) == {"train": 140, "validation": 30, "test": 30}


def test_a_known_split_never_changes() -> None:
    """The split of given images is the same in every version; r, a and e stand for train, validation and test."""
    found = [(digest(k), "cats") for k in range(20)]
    assert "".join(name[1] for name in split(found, FRACTIONS, 0)) == "arrearraeerrrrrrrrrr"


@given(
    images,
    st.lists(st.tuples(st.integers(0, 119), st.integers(0, 119)), max_size=30),
    fractions_of_splits,
    st.integers(0, 2**40),
)
def test_similar_images_stay_together(
    found: list[tuple[str, str]], links: list[tuple[int, int]], wanted: dict[str, float], seed: int
) -> None:
    """Groups of similar images are not divided between splits, and only train can exceed its count."""
    digests, labels = [one for one, _ in found], [label for _, label in found]
    alike = [(one, other, 1.0) for one, other in links if max(one, other) < len(found)]
    splits = draw_splits(digests, [(label,) for label in labels], wanted, seed, alike)
    for group in inseparable(digests, labels, alike):
        assert len({splits[place] for place in group}) == 1
    counts = Counter(zip(labels, splits, strict=True))
    for label, n in Counter(labels).items():
        for name, count in largest_remainder(n, wanted).items():
            assert name == "train" or counts[label, name] <= count


def training_images(counts: dict[str, int]) -> SplitImages:
    """Return training images of the given classes, and as many validation images."""
    records = [
        ImageRecord(f"{split}-{label}-{k}", (label,), split, ImageFacts(digest((split, label, k)), 1, 8, 8))
        for split in ("train", "validation")
        for label, n in counts.items()
        for k in range(n)
    ]
    return SplitImages(tuple(records), ((2, len(records) - 1, 0.98), (3, len(records) - 2, 0.96)), ((0, 1, 0.99),), ())


def test_a_part_of_the_training_images_has_the_proportions_of_the_classes() -> None:
    """Row 201: `data.train_images` keeps the proportions of the classes within one image, and all other splits."""
    counts = {"cats": 60, "dogs": 30, "owls": 10}
    for limit in (10, 50, 99):
        kept = limit_training(training_images(counts), limit, 0).images
        of_class = Counter(one.label for one in kept if one.split == "train")
        assert sum(of_class.values()) == limit
        assert all(abs(of_class[label] - limit * n / 100) <= 1 for label, n in counts.items())
        assert Counter(one.label for one in kept if one.split == "validation") == counts


def test_larger_parts_contain_smaller_ones() -> None:
    """The images of a larger part contain those of a smaller one, and another seed chooses other images."""
    found = training_images({"cats": 40, "dogs": 20})
    parts = [{one.file for one in limit_training(found, limit, 7).images} for limit in range(2, 61)]

    assert all(smaller < larger for smaller, larger in pairwise(parts))
    assert {one.file for one in limit_training(found, 30, 8).images} != parts[28]


def test_every_class_keeps_a_training_image() -> None:
    """Even a class with few images is in the smallest part; fewer images than classes are an error."""
    found = training_images({"cats": 100, "dogs": 100, "owls": 1})
    kept = limit_training(found, 3, 0)
    assert Counter(one.label for one in kept.images if one.split == "train") == {"cats": 1, "dogs": 1, "owls": 1}
    assert [(one.severity, one.code) for one in limit_training(found, 2, 0).issues] == [
        ("error", "data-train-images-too-few")
    ]
    assert [one.severity for one in limit_training(found, 999, 0).issues] == ["warning"]
    assert len(limit_training(found, 999, 0).images) == len(found.images)


def test_pairs_of_similar_images_follow_a_smaller_training_split() -> None:
    """Pairs refer to the remaining images, and pairs of which an image was left out are gone."""
    found = training_images({"cats": 40})
    kept = limit_training(found, 5, 0)
    for first, second, _ in (*kept.pairs, *kept.divided):
        assert {kept.images[first].file, kept.images[second].file} <= {one.file for one in found.images}
    files = {one.file for one in kept.images}
    expected = [score for a, b, score in found.pairs if {found.images[a].file, found.images[b].file} <= files]
    assert [score for *_, score in kept.pairs] == expected
