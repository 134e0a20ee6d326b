"""Crops, erased rectangles and noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cnncli.augmentation.geometry import Geometry, warp
from cnncli.augmentation.noise import Noise, add_noise
from cnncli.augmentation.random_erasing import Erasing, erase
from cnncli.augmentation.random_rect import WHOLE, Part, draw_part, largest_part
from cnncli.runtime.random_keys import generator


def drawn_image(height: int = 24, width: int = 32, channels: int = 3) -> NDArray[np.uint8]:
    """Noise."""
    return np.random.default_rng(7).integers(0, 256, (height, width, channels), dtype=np.uint8)


@given(key=st.integers(0, 2**32), low=st.floats(0.01, 0.5), ratio=st.floats(0.2, 1.0))
def test_a_part_lies_in_the_image_and_has_the_area_and_shape(key: int, low: float, ratio: float) -> None:
    """Share of the area and width to height are within their limits."""
    part = draw_part(generator(key), (low, 0.8), (ratio, 1 / ratio))
    if part is not None:
        assert part.left >= 0
        assert part.top >= 0
        assert part.left + part.width <= 1 + 1e-12
        assert part.top + part.height <= 1 + 1e-12
        assert low - 1e-9 <= part.width * part.height <= 0.8 + 1e-9
        assert ratio - 1e-9 <= part.width / part.height <= 1 / ratio + 1e-9


def test_parts_are_drawn_evenly() -> None:
    """Where every shape fits: areas uniform, shapes uniform in the logarithm, places uniform in what is left."""
    parts = [draw_part(generator("even", key), (0.1, 0.3), (0.5, 2.0)) for key in range(3000)]
    found = np.array([[part.left, part.top, part.width, part.height] for part in parts if part])
    assert len(found) == 3000
    left, top, width, height = found.T
    areas, shapes = (width * height - 0.1) / 0.2, (np.log(width / height) / np.log(2) + 1) / 2
    for unit in (areas, shapes, left / (1 - width), top / (1 - height)):
        assert np.abs(np.quantile(unit, [0.1, 0.25, 0.5, 0.75, 0.9]) - [0.1, 0.25, 0.5, 0.75, 0.9]).max() < 0.04


def test_where_nothing_fits_the_largest_allowed_part_is_kept() -> None:
    """The whole image, or the middle of it where its own shape is not allowed."""
    assert draw_part(generator("none"), (1.0, 1.0), (2.0, 4.0)) is None
    assert largest_part((0.5, 2.0)) == WHOLE
    assert largest_part((2.0, 4.0)) == Part(0.0, 0.25, 1.0, 0.5)
    assert largest_part((0.25, 0.5)) == Part(0.25, 0.0, 0.5, 1.0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_equals_cutting_out_and_resizing(channels: int) -> None:
    """Pillow's crop and bilinear resize, off the edges, where the part's neighbours shine in here."""
    pixels, (left, top, right, bottom) = drawn_image(channels=channels), (8, 3, 24, 15)
    part = Part(left / 32, top / 24, (right - left) / 32, (bottom - top) / 24)
    ours = warp(pixels, Geometry(crop=part), "nearest", 0)
    image = Image.fromarray(pixels if channels == 3 else pixels[..., 0]).crop((left, top, right, bottom))
    theirs = np.asarray(image.resize((32, 24), Image.Resampling.BILINEAR)).reshape(ours.shape)
    assert np.abs(ours.astype(int) - theirs)[1:-1, 1:-1].max() <= 1


def test_a_crop_and_what_follows_are_one_warp() -> None:
    """A flip after a crop mirrors the part, exactly."""
    crop = Part(0.25, 0.0, 0.5, 0.5)
    cropped = warp(drawn_image(), Geometry(crop=crop), "nearest", 0)
    both = warp(drawn_image(), Geometry(crop=crop, horizontal_flip=True), "nearest", 0)
    np.testing.assert_array_equal(both, cropped[:, ::-1])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("value", [0, 200, "random"])
def test_erasing_paints_its_rectangle_and_nothing_else(value: int, channels: int) -> None:
    """Rows 6-11 and columns 8-23 of an image that stays as it was."""
    pixels = drawn_image(channels=channels)
    erased = erase(pixels, Erasing(Part(0.25, 0.25, 0.5, 0.25), value, ("key",)))  # type: ignore[arg-type]
    inside = np.zeros(pixels.shape, bool)
    inside[6:12, 8:24] = True
    np.testing.assert_array_equal(pixels, drawn_image(channels=channels))
    np.testing.assert_array_equal(erased[~inside], pixels[~inside])
    if value == "random":
        assert len(np.unique(erased[inside])) > 50
    else:
        assert set(erased[inside].tolist()) == {value}


@given(height=st.integers(1, 9), width=st.integers(1, 9), key=st.integers(0, 2**32))
def test_erasing_hits_at_least_one_pixel_and_stays_inside(height: int, width: int, key: int) -> None:
    """Also in images of a few pixels."""
    part = draw_part(generator(key), (0.02, 0.33), (0.3, 3.3))
    erased = erase(np.full((height, width, 1), 9, np.uint8), part and Erasing(part, 0))
    assert part is None or 1 <= np.count_nonzero(erased == 0) <= height * width


@pytest.mark.parametrize("stddev", [0.4, 5.0, 30.0])
def test_noise_has_the_spread_of_its_setting(stddev: float) -> None:
    """Mean 0 and the standard deviation in gray levels, rounding included, and no value says anything of the next."""
    gray = np.full((200, 200, 3), 128, np.uint8)
    noise = add_noise(gray, Noise(stddev, ("key",))).astype(float) - 128
    assert abs(noise.mean()) < 4.5 * stddev / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(np.sqrt(stddev**2 + 1 / 12), rel=0.1 if stddev < 1 else 0.01)
    flat = noise.reshape(-1)
    assert abs(np.corrcoef(flat[:-1], flat[1:])[0, 1]) < 4.5 / np.sqrt(flat.size)
    np.testing.assert_array_equal(noise + 128, add_noise(gray, Noise(stddev, ("key",))))
    assert not np.array_equal(noise + 128, add_noise(gray, Noise(stddev, ("other",))))


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_cut_off_at_black_and_white(channels: int) -> None:
    """No value wraps around."""
    for value in (0, 255):
        noisy = add_noise(np.full((50, 50, channels), value, np.uint8), Noise(40.0, ("key",)))
        assert noisy.shape == (50, 50, channels)
        assert np.abs(noisy.astype(int) - value).max() < 220
        assert np.mean(noisy == value) > 0.45
