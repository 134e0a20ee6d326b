"""Operations on gray values and colors against Pillow, colorsys and exact arithmetic."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from cnncli.augmentation.chroma import Chroma, recolor, saturate, turn_hue
from cnncli.augmentation.enhance import autocontrast, equalize, posterize, sharpen, solarize
from cnncli.augmentation.tone import LUMA, Tone, adjust

Pixels = NDArray[np.uint8]
ROUNDING = 0.501


@st.composite
def images(draw: st.DrawFn, channels: tuple[int, ...] = (1, 3)) -> Pixels:
    """Noise of any size in a range of gray values, down to one value alone."""
    height, width = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    lowest, highest = sorted(draw(st.tuples(st.integers(0, 255), st.integers(0, 255))))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    return random.integers(lowest, highest + 1, (height, width, draw(st.sampled_from(channels))), dtype=np.uint8)


def image_of(pixels: Pixels) -> Image.Image:
    """The same image for Pillow."""
    return Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])


def difference(ours: Pixels, theirs: Any) -> float:
    """The largest, in gray levels."""
    assert ours.dtype == np.uint8
    return float(np.abs(ours.astype(float) - np.asarray(theirs, dtype=float).reshape(ours.shape)).max())


@pytest.mark.parametrize(
    ("ours", "theirs"), [(autocontrast, ImageOps.autocontrast), (equalize, ImageOps.equalize)], ids=lambda f: f.__name__
)
@given(pixels=images())
def test_histograms_are_treated_as_by_pillow(
    ours: Callable[[Pixels], Pixels], theirs: Callable[[Image.Image], Image.Image], pixels: Pixels
) -> None:
    """Exactly, also where a channel has one value alone."""
    assert difference(ours(pixels), theirs(image_of(pixels))) == 0


@given(pixels=images(), bits=st.integers(1, 8), threshold=st.floats(0, 256))
def test_posterize_and_solarize_equal_pillows(pixels: Pixels, bits: int, threshold: float) -> None:
    """Exactly, with whole and broken thresholds."""
    assert difference(posterize(pixels, bits), ImageOps.posterize(image_of(pixels), bits)) == 0
    assert difference(solarize(pixels, threshold), ImageOps.solarize(image_of(pixels), threshold)) == 0


@given(pixels=images(), factor=st.floats(0, 2))
def test_sharpness_equals_pillows(pixels: Pixels, factor: float) -> None:
    """Up to one gray level: Pillow rounds the smoothed image before it blends."""
    assert difference(sharpen(pixels, factor), ImageEnhance.Sharpness(image_of(pixels)).enhance(factor)) <= 1


@given(pixels=images((3,)), factor=st.floats(0, 2))
def test_saturation_equals_pillows(pixels: Pixels, factor: float) -> None:
    """Up to two gray levels: Pillow drops fractions, and now and then rounds a gray value the other way."""
    assert difference(saturate(pixels, factor), ImageEnhance.Color(image_of(pixels)).enhance(factor)) <= 2
    exact = np.repeat(pixels @ np.array(LUMA)[:, None], 3, axis=-1)
    assert difference(saturate(pixels, 0.0), exact) <= ROUNDING + 0.005  # OpenCV weighs colors with 15 bits


@given(pixels=images((3,)), fraction=st.floats(-0.5, 0.5))
def test_hue_turns_as_in_colorsys(pixels: Pixels, fraction: float) -> None:
    """The HSV circle, rounded once at the end."""
    colors = (colorsys.rgb_to_hsv(*pixel) for pixel in pixels.reshape(-1, 3).astype(float))
    turned = [colorsys.hsv_to_rgb((hue + fraction) % 1, saturation, value) for hue, saturation, value in colors]
    assert difference(turn_hue(pixels, fraction), turned) <= ROUNDING


def test_a_third_of_the_circle_makes_red_green() -> None:
    """And green blue, and blue red: no channels change places on the way."""
    red, green, blue = np.eye(3, dtype=np.uint8)[:, None, None] * 200
    for start, end in [(red, green), (green, blue), (blue, red)]:
        np.testing.assert_array_equal(recolor(start, Chroma(hue=1 / 3)), end)


@given(pixels=images((1,)), saturation=st.floats(0, 3), hue=st.floats(-0.5, 0.5))
def test_gray_has_no_color_to_change(pixels: Pixels, saturation: float, hue: float) -> None:
    """Neither in one channel nor in three equal ones."""
    assert recolor(pixels, Chroma(saturation, hue)) is pixels
    gray = np.repeat(pixels, 3, axis=-1)
    np.testing.assert_array_equal(recolor(gray, Chroma(saturation, hue)), gray)


@given(pixels=images(), shifts=st.tuples(*[st.floats(-255, 255)] * 3))
def test_channel_shifts_are_added(pixels: Pixels, shifts: tuple[float, float, float]) -> None:
    """One number a channel, cut off at 0 and 255; of a gray image the first."""
    exact = np.clip(pixels + np.array(shifts[: pixels.shape[-1]]), 0, 255)
    assert difference(adjust(pixels, Tone(channel_shifts=shifts)), exact) <= ROUNDING


def test_a_shift_of_all_channels_equals_kerass() -> None:
    """Where no value is cut off, one number for all channels is ImageDataGenerator's shift, before its brightness."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    pixels = np.random.default_rng(0).integers(100, 150, (20, 30, 3), dtype=np.uint8)
    pixels[0, 0], pixels[0, 1] = 0, 255  # Keras cuts off at the image's extremes
    parameters = {"channel_shift_intensity": 30, "brightness": 0.8}
    theirs = ImageDataGenerator().apply_transform(pixels.astype(np.float32), parameters)
    assert difference(adjust(pixels, Tone(brightness=0.8, channel_shifts=(30.0, 30.0, 30.0))), theirs) == 0


@given(pixels=images())
def test_neutral_amounts_leave_every_pixel(pixels: Pixels) -> None:
    """Factor 1, eight bits, a threshold above white."""
    for result in (sharpen(pixels, 1.0), posterize(pixels, 8), solarize(pixels, 256.0)):
        np.testing.assert_array_equal(result, pixels)
    assert recolor(pixels, Chroma()) is pixels
    if pixels.shape[-1] == 3:
        np.testing.assert_array_equal(saturate(pixels, 1.0), pixels)
