"""The search for similar images."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from cnncli.dataset import perceptual_hash as alike
from cnncli.dataset.perceptual_hash import (
    HASH_BITS,
    LEAST_CORRELATION,
    Looks,
    color_distances,
    correlations,
    similar_pairs,
)
from cnncli.images.thumbnail import GRAY_SIDE, THUMBNAIL_BYTES
from cnncli.terminal.console import Console


def random_thumbnails(n: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return random thumbnails of n images: uint8, shape (n, 288)."""
    return np.random.default_rng(seed).integers(0, 256, (n, THUMBNAIL_BYTES), np.uint8)


def looks_of(table: NDArray[np.uint8]) -> Looks:
    """Return the `Looks` of thumbnails given as an array of shape (n, 288)."""
    return Looks.of([row.tobytes() for row in table])


def noisy(table: NDArray[np.uint8], levels: float, seed: int = 1) -> NDArray[np.uint8]:
    """Return the thumbnails with added noise."""
    noise = np.random.default_rng(seed).normal(0, levels, table.shape)
    return (table + noise).clip(0, 255).astype(np.uint8)


def by_definition(looks: Looks, parts: list[NDArray[np.int64]], within: list[int]) -> set[tuple[int, int]]:
    """Return all similar pairs, found by comparing every pair separately."""
    part_of = {place: number for number, part in enumerate(parts) for place in part.tolist()}
    pairs = set()
    for one in part_of:
        for other in part_of:
            parted = part_of[one] < part_of[other]
            if not (parted or (part_of[one] == part_of[other] and part_of[one] in within and one < other)):
                continue
            bits = np.bitwise_count(looks.hashes[one] ^ looks.hashes[other])
            correlation = correlations(looks.gray[[one]], looks.gray[[other]])[0]
            color = color_distances(looks.color[[one]], looks.color[[other]])[0]
            if bits <= HASH_BITS and correlation >= LEAST_CORRELATION and color <= alike.COLOR_LEVELS:
                pairs.add((one, other))
    return pairs


@pytest.mark.parametrize("within", [[], [0], [1], [0, 1, 2]])
def test_the_search_finds_every_similar_pair(within: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The blockwise search finds each similar pair exactly once, across all boundaries between blocks."""
    monkeypatch.setattr(alike, "_ROWS", 7)
    monkeypatch.setattr(alike, "_COLUMNS", 11)
    table = random_thumbnails(20)
    table = np.concatenate([table, noisy(table, 15), noisy(table, 25, 2), noisy(table, 60, 3)])
    looks = looks_of(table)
    places = np.random.default_rng(5).permutation(len(table))
    parts = [np.sort(part) for part in np.split(places, [30, 50])]
    found = similar_pairs(looks, parts, within)
    pairs = [(one, other) for one, other, _ in found.pairs]
    assert found.is_complete
    assert len(set(pairs)) == len(pairs) > 0
    assert set(pairs) == by_definition(looks, parts, within)


def test_brightness_and_contrast_do_not_matter() -> None:
    """Images that differ only in brightness and contrast are similar if no values are clipped."""
    table = random_thumbnails(1) // 2 + 20
    brighter = table.copy()
    brighter[:, : GRAY_SIDE**2] = table[:, : GRAY_SIDE**2] * 1.5 + 10
    ((_, _, correlation),) = similar_pairs(
        looks_of(np.concatenate([table, brighter])), [np.array([0]), np.array([1])]
    ).pairs
    assert correlation > 0.999


def test_images_of_different_colors_are_not_similar() -> None:
    """Images of different colors are not similar, but a grayscale image is similar to both."""
    red, blue, gray = random_thumbnails(1).repeat(3, axis=0)
    red[GRAY_SIDE**2 :], blue[GRAY_SIDE**2 :], gray[GRAY_SIDE**2 :] = 160, 90, 128
    looks = looks_of(np.stack([red, blue, gray]))
    pairs = similar_pairs(looks, [np.arange(3)], within=[0]).pairs
    assert [(one, other) for one, other, _ in pairs] == [(0, 2), (1, 2)]


def test_images_without_structure_are_not_similar() -> None:
    """Blank images and even gradients with a little noise are not similar to any image."""
    ramp = np.linspace(90, 200, GRAY_SIDE)[:, None].repeat(GRAY_SIDE, axis=1).reshape(-1)
    blank = np.full((500, THUMBNAIL_BYTES), 250, np.uint8)
    sky = np.full((500, THUMBNAIL_BYTES), 140, np.uint8)
    sky[:, : GRAY_SIDE**2] = ramp
    looks = looks_of(noisy(np.concatenate([blank, sky]), 1.5))
    assert not looks.has_structure.any()
    assert similar_pairs(looks, [np.arange(1000)], within=[0]).pairs == ()


def test_images_without_a_thumbnail_are_not_similar() -> None:
    """Images without a thumbnail are not similar to any image."""
    assert similar_pairs(Looks.of([b"", b""]), [np.array([0]), np.array([1])]).pairs == ()
    assert similar_pairs(Looks.of([]), []).pairs == ()


def test_the_search_ends_at_the_maximum_number_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search ends at the maximum number of pairs and is then marked as incomplete."""
    table = noisy(random_thumbnails(1).repeat(400, axis=0), 4)
    monkeypatch.setattr(alike, "LIMIT", 1000)
    found = similar_pairs(looks_of(table), [np.arange(200), np.arange(200, 400)])
    assert not found.is_complete
    assert len(found.pairs) == 1000


def test_a_search_that_would_take_too_long_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that needs too many comparisons is not started, and its result is marked as incomplete."""
    looks, parts = looks_of(random_thumbnails(100)), [np.arange(60), np.arange(60, 100)]
    monkeypatch.setattr(alike, "MOST_COMPARISONS", 60 * 40)
    assert similar_pairs(looks, parts) == alike.Similar()
    monkeypatch.setattr(alike, "MOST_COMPARISONS", 60 * 40 - 1)
    assert similar_pairs(looks, parts) == alike.Similar(is_complete=False)


@pytest.mark.parametrize("is_long", [False, True])
def test_progress_is_shown_if_the_search_takes_long(is_long: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is shown only if the search needs many comparisons."""
    monkeypatch.setattr(alike, "SHOWN_COMPARISONS", 2400 * 2600 + (not is_long))
    screen = io.StringIO()
    parts = [np.arange(2400), np.arange(2400, 5000)]
    similar_pairs(looks_of(random_thumbnails(5000)), parts, console=Console(screen, live=False))
    assert screen.getvalue().startswith("comparing images: 6 million pairs in ") == is_long


@pytest.mark.slow
def test_a_hundred_thousand_images_are_compared_in_little_memory() -> None:
    """All planted copies among 100,000 images, and nothing else, are found within 500 MB."""
    n, copies = 100_000, 200
    table = random_thumbnails(n)
    table[-copies:] = noisy(table[:copies], 8)
    thumbnails = [row.tobytes() for row in table]
    tracemalloc.start()
    found = similar_pairs(Looks.of(thumbnails), np.split(np.arange(n), [70_000, 85_000]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {(one, other) for one, other, _ in found.pairs} == {(k, n - copies + k) for k in range(copies)}
    assert peak < 500e6
