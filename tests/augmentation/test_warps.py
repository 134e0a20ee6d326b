"""Lens distortion and elastic deformation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from cnncli.augmentation.operation import Pixels
from cnncli.augmentation.settings import AugmentationConfig, describe
from cnncli.augmentation.views import render
from cnncli.augmentation.warps import deform, distort
from cnncli.runtime.random_keys import generator
from tests.images.making import pixels

Floats = NDArray[np.float64]


def sampled(image: Pixels, x: Floats, y: Floats) -> Floats:
    """Return the pixels at positions, as SciPy interpolates them."""
    bands = np.moveaxis(image.astype(float), -1, 0)
    return np.stack([map_coordinates(band, [y, x], order=1, mode="nearest") for band in bands], axis=-1)


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.parametrize("k", [-0.2, 0.25])
def test_lens_distortion_moves_pixels_along_the_radius(k: float, channels: int) -> None:
    """Row 148. A pixel at radius r comes from r · (1 + k · r²), with any number of channels, as SciPy samples it."""
    image = pixels(40, 60, channels)
    y, x = np.indices((40, 60), dtype=float)
    factor = 1 + k * ((x - 29.5) ** 2 + (y - 19.5) ** 2) / (29.5**2 + 19.5**2)
    expected = sampled(image, 29.5 + factor * (x - 29.5), 19.5 + factor * (y - 19.5))
    found = distort(image, k).astype(float)
    assert found.shape == image.shape
    assert np.abs(found - expected).max() <= 3.0
    assert np.abs(found - expected).mean() < 0.6


def test_a_barrel_bends_a_line_outward_and_a_pincushion_inward() -> None:
    """Row 148. A vertical line left of the center is further left in the middle than at its ends in a barrel image."""
    image = np.zeros((101, 101, 1), np.uint8)
    image[:, 20:23] = 255

    def column(found: Pixels, row: int) -> float:
        weights = found[row, :, 0].astype(float)
        return float((weights * np.arange(101)).sum() / weights.sum())

    barrel, pincushion = distort(image, 0.2), distort(image, -0.2)
    assert column(barrel, 50) < column(barrel, 10) - 1
    assert column(pincushion, 50) > column(pincushion, 10) + 1


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_elastic_warp_shifts_by_a_smoothed_random_field(channels: int) -> None:
    """Row 149. Shifts are uniform in ±alpha, smoothed with sigma, as SciPy does, and the same for all channels."""
    image, key = pixels(40, 50, channels), ("elastic_warp", 3)
    noise = generator(*key).uniform(-20, 20, (2, 40, 50))
    dx, dy = (gaussian_filter(part, 3, mode="reflect", truncate=5) for part in noise)
    assert 0.5 < np.abs(dx).max() < 10
    y, x = np.indices((40, 50), dtype=float)
    found = deform(image, 20.0, 3.0, key).astype(float)
    assert np.abs(found - sampled(image, x + dx, y + dy)).mean() < 1.0


def test_views_differ_and_repeat() -> None:
    """Both operations are functions of the key of the view: the same key gives the same pixels, another one others."""
    image = pixels(32, 32)
    for settings in (AugmentationConfig(lens_distortion=0.3), AugmentationConfig(elastic_warp={})):
        one, again, other = (render(image, settings, "view", k) for k in (1, 1, 2))
        np.testing.assert_array_equal(one, again)
        assert (one != other).any()
    assert describe(AugmentationConfig(elastic_warp={}, lens_distortion=0.1))[:2] == (
        "lens distortion ±0.1",
        "elastic warp 34 px, smoothed by 4 px",
    )
