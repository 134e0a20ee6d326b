"""Random crops, random erasing and noise."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cnncli.augmentation.geometry import mirror, warp
from cnncli.augmentation.noise import add_noise
from cnncli.augmentation.operation import AffineStep
from cnncli.augmentation.random_rect import Rect, crop, draw_rect, erase, largest_rect
from cnncli.runtime.random_keys import generator


def noise_image(height: int = 24, width: int = 32, channels: int = 3) -> NDArray[np.uint8]:
    """Return a noise image."""
    return np.random.default_rng(7).integers(0, 256, (height, width, channels), dtype=np.uint8)


@given(key=st.integers(0, 2**32), low=st.floats(0.01, 0.5), ratio=st.floats(0.2, 1.0))
def test_a_rect_lies_in_the_image_and_within_the_limits(key: int, low: float, ratio: float) -> None:
    """A drawn rectangle lies inside the image, and its area and aspect ratio are within their limits."""
    rect = draw_rect(generator(key), (low, 0.8), (ratio, 1 / ratio))
    if rect is not None:
        assert rect.left >= 0
        assert rect.top >= 0
        assert rect.left + rect.width <= 1 + 1e-12
        assert rect.top + rect.height <= 1 + 1e-12
        assert low - 1e-9 <= rect.width * rect.height <= 0.8 + 1e-9
        assert ratio - 1e-9 <= rect.width / rect.height <= 1 / ratio + 1e-9


def test_rects_are_drawn_evenly() -> None:
    """If every shape fits, areas, positions and the logarithms of aspect ratios are distributed uniformly."""
    rects = [draw_rect(generator("even", key), (0.1, 0.3), (0.5, 2.0)) for key in range(3000)]
    found = np.array([[rect.left, rect.top, rect.width, rect.height] for rect in rects if rect])
    assert len(found) == 3000
    left, top, width, height = found.T
    areas, shapes = (width * height - 0.1) / 0.2, (np.log(width / height) / np.log(2) + 1) / 2
    for unit in (areas, shapes, left / (1 - width), top / (1 - height)):
        assert np.abs(np.quantile(unit, [0.1, 0.25, 0.5, 0.75, 0.9]) - [0.1, 0.25, 0.5, 0.75, 0.9]).max() < 0.04


def test_the_largest_allowed_rect_is_the_fallback() -> None:
    """If no attempt fits, the largest allowed rectangle is the whole image or a centered part of it."""
    assert draw_rect(generator("none"), (1.0, 1.0), (2.0, 4.0)) is None
    assert largest_rect((0.5, 2.0)) == Rect()
    assert largest_rect((2.0, 4.0)) == Rect(0.0, 0.25, 1.0, 0.5)
    assert largest_rect((0.25, 0.5)) == Rect(0.25, 0.0, 0.5, 1.0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_equals_cutting_out_and_resizing(channels: int) -> None:
    """A crop matches Pillow's crop and bilinear resize, except at its edges, where the warp uses adjacent pixels."""
    pixels, (left, top, right, bottom) = noise_image(channels=channels), (8, 3, 24, 15)
    rect = Rect(left / 32, top / 24, (right - left) / 32, (bottom - top) / 24)
    ours = warp(pixels, [AffineStep(partial(crop, rect=rect))], "nearest", 0)
    image = Image.fromarray(pixels if channels == 3 else pixels[..., 0]).crop((left, top, right, bottom))
    theirs = np.asarray(image.resize((32, 24), Image.Resampling.BILINEAR)).reshape(ours.shape)
    assert np.abs(ours.astype(int) - theirs)[1:-1, 1:-1].max() <= 1


def test_a_crop_and_a_flip_are_one_warp() -> None:
    """A crop and a flip in one warp equal the mirrored crop exactly."""
    crop_step = AffineStep(partial(crop, rect=Rect(0.25, 0.0, 0.5, 0.5)))
    flip_step = AffineStep(partial(mirror, horizontal=True, vertical=False))
    cropped = warp(noise_image(), [crop_step], "nearest", 0)
    both = warp(noise_image(), [crop_step, flip_step], "nearest", 0)
    np.testing.assert_array_equal(both, cropped[:, ::-1])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("value", [0, 200, "random"])
def test_erasing_changes_only_its_rectangle(value: int, channels: int) -> None:
    """Erasing fills the rectangle with the value or random pixels, in a copy, and leaves all other pixels unchanged."""
    pixels = noise_image(channels=channels)
    erased = erase(pixels, Rect(0.25, 0.25, 0.5, 0.25), value, ("key",))
    inside = np.zeros(pixels.shape, bool)
    inside[6:12, 8:24] = True
    np.testing.assert_array_equal(pixels, noise_image(channels=channels))
    np.testing.assert_array_equal(erased[~inside], pixels[~inside])
    if value == "random":
        assert len(np.unique(erased[inside])) > 50
    else:
        assert set(erased[inside].tolist()) == {value}


@given(height=st.integers(1, 9), width=st.integers(1, 9), key=st.integers(0, 2**32))
def test_erasing_hits_at_least_one_pixel_and_stays_inside(height: int, width: int, key: int) -> None:
    """At least one pixel is erased, even in images of a few pixels."""
    rect = draw_rect(generator(key), (0.02, 0.33), (0.3, 3.3))
    if rect is not None:
        erased = erase(np.full((height, width, 1), 9, np.uint8), rect, 0)
        assert 1 <= np.count_nonzero(erased == 0) <= height * width


@pytest.mark.parametrize("stddev", [0.4, 5.0, 30.0])
def test_noise_has_the_configured_standard_deviation(stddev: float) -> None:
    """Noise is independent and reproducible, with mean 0 and the configured standard deviation plus rounding."""
    gray = np.full((200, 200, 3), 128, np.uint8)
    noise = add_noise(gray, stddev, ("key",)).astype(float) - 128
    assert abs(noise.mean()) < 4.5 * stddev / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(np.sqrt(stddev**2 + 1 / 12), rel=0.1 if stddev < 1 else 0.01)
    flat = noise.reshape(-1)
    assert abs(np.corrcoef(flat[:-1], flat[1:])[0, 1]) < 4.5 / np.sqrt(flat.size)
    np.testing.assert_array_equal(noise + 128, add_noise(gray, stddev, ("key",)))
    assert not np.array_equal(noise + 128, add_noise(gray, stddev, ("other",)))


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_clipped_at_black_and_white(channels: int) -> None:
    """Noise on black and white images is clipped to 0–255 and never wraps around."""
    for value in (0, 255):
        noisy = add_noise(np.full((50, 50, channels), value, np.uint8), 40.0, ("key",))
        assert noisy.shape == (50, 50, channels)
        assert np.abs(noisy.astype(int) - value).max() < 220
        assert np.mean(noisy == value) > 0.45
