"""Occlusion, insertion and deletion find what a score depends on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cnncli.explanation.perturbation import deletion_score, insertion_score, occlude

Pixels = NDArray[np.uint8]


def _spot(images: Pixels) -> NDArray[np.float64]:
    """Return the mean brightness of a spot at the lower right, 0-1."""
    return np.asarray(images[:, 26:32, 30:38].mean(axis=(1, 2, 3)) / 255)


@pytest.fixture
def image() -> Pixels:
    """Return a dark image with a bright spot."""
    pixels = np.random.default_rng(0).integers(0, 40, (36, 48, 3), dtype=np.uint8)
    pixels[26:32, 30:38] = 250
    return pixels


def test_occlusion_finds_the_spot(image: Pixels) -> None:
    """The score falls most where the spot is hidden, and not at all elsewhere."""
    found = occlude(_spot, image)
    row, column = np.unravel_index(found.argmax(), found.shape)

    assert found.shape == (36, 48)
    assert 22 <= row <= 35
    assert 26 <= column <= 42
    assert found[:10, :10].max() == pytest.approx(0, abs=1e-6)


def test_occlusion_is_negative_where_hiding_helps(image: Pixels) -> None:
    """The map is negative at parts that raise the score when they are hidden."""
    assert occlude(lambda images: -_spot(images), image).min() < 0


def test_good_maps_score_better_than_bad_ones(image: Pixels) -> None:
    """The map of the spot has a high insertion and a low deletion score; its opposite has the reverse."""
    good = np.zeros((36, 48), np.float32)
    good[26:32, 30:38] = 1
    good += np.random.default_rng(1).random(good.shape).astype(np.float32) / 100

    assert insertion_score(_spot, image, good) > insertion_score(_spot, image, -good) + 0.2
    assert deletion_score(_spot, image, good) < deletion_score(_spot, image, -good) - 0.2


def test_scores_are_means_over_all_steps(image: Pixels) -> None:
    """Images change from one end to the other in equal steps, both ends included."""
    seen: list[Pixels] = []

    def score(images: Pixels) -> NDArray[np.float64]:
        seen.append(images)
        return np.arange(len(images), dtype=float)

    assert deletion_score(score, image, np.zeros((36, 48), np.float32), steps=4) == 2.0
    (images,) = seen
    np.testing.assert_array_equal(images[0], image)
    assert (images[-1] == images[-1][0, 0]).all()
    changed = [(one != image).any(axis=2).mean() for one in images]
    assert changed == sorted(changed)
