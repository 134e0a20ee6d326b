"""Operations on intensity and color compared with Pillow, colorsys and exact arithmetic."""

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

from cnncli.augmentation.color import RotateHue, ScaleBrightness, ScaleContrast, ScaleSaturation, ShiftChannels
from cnncli.augmentation.intensity import (
    LUMA,
    apply_tables,
    autocontrast,
    equalize,
    posterize,
    sharpen,
    solarize,
)

Pixels = NDArray[np.uint8]
ROUNDING = 0.501


@st.composite
def images(draw: st.DrawFn, channels: tuple[int, ...] = (1, 3)) -> Pixels:
    """Generate noise of any size in a range of values, down to a single value."""
    height, width = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    lowest, highest = sorted(draw(st.tuples(st.integers(0, 255), st.integers(0, 255))))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    return random.integers(lowest, highest + 1, (height, width, draw(st.sampled_from(channels))), dtype=np.uint8)


def image_of(pixels: Pixels) -> Image.Image:
    """Return the image as a Pillow image."""
    return Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])


def difference(ours: Pixels, theirs: Any) -> float:
    """Return the largest difference in intensity levels."""
    assert ours.dtype == np.uint8
    return float(np.abs(ours.astype(float) - np.asarray(theirs, dtype=float).reshape(ours.shape)).max())


@pytest.mark.parametrize(
    ("ours", "theirs"), [(autocontrast, ImageOps.autocontrast), (equalize, ImageOps.equalize)], ids=lambda f: f.__name__
)
@given(pixels=images())
def test_autocontrast_and_equalize_equal_pillows(
    ours: Callable[[Pixels], Pixels], theirs: Callable[[Image.Image], Image.Image], pixels: Pixels
) -> None:
    """Autocontrast and equalize equal Pillow's exactly, also for a channel with a single value."""
    assert difference(ours(pixels), theirs(image_of(pixels))) == 0


@given(pixels=images(), bits=st.integers(1, 8), threshold=st.floats(0, 256))
def test_posterize_and_solarize_equal_pillows(pixels: Pixels, bits: int, threshold: float) -> None:
    """Posterize and solarize equal Pillow's exactly, with integer and fractional thresholds."""
    assert difference(posterize(pixels, bits), ImageOps.posterize(image_of(pixels), bits)) == 0
    assert difference(solarize(pixels, threshold), ImageOps.solarize(image_of(pixels), threshold)) == 0


@given(pixels=images(), factor=st.floats(0, 2))
def test_sharpness_equals_pillows(pixels: Pixels, factor: float) -> None:
    """Sharpness differs by at most one level, because Pillow rounds the smoothed image before blending."""
    assert difference(sharpen(pixels, factor), ImageEnhance.Sharpness(image_of(pixels)).enhance(factor)) <= 1


@given(pixels=images((3,)), factor=st.floats(0, 2))
def test_saturation_equals_pillows(pixels: Pixels, factor: float) -> None:
    """Saturation differs by at most two levels, because Pillow drops fractions and rounds gray values."""
    assert difference(ScaleSaturation(factor).apply(pixels), ImageEnhance.Color(image_of(pixels)).enhance(factor)) <= 2
    exact = np.repeat(pixels @ np.array(LUMA)[:, None], 3, axis=-1)
    assert (
        difference(ScaleSaturation(0.0).apply(pixels), exact) <= ROUNDING + 0.005
    )  # OpenCV weighs colors with 15 bits


@given(pixels=images((3,)), fraction=st.floats(-0.5, 0.5))
def test_hue_equals_colorsys(pixels: Pixels, fraction: float) -> None:
    """Hue rotates the HSV circle and rounds once at the end."""
    colors = (colorsys.rgb_to_hsv(*pixel) for pixel in pixels.reshape(-1, 3).astype(float))
    turned = [colorsys.hsv_to_rgb((hue + fraction) % 1, saturation, value) for hue, saturation, value in colors]
    assert difference(RotateHue(fraction).apply(pixels), turned) <= ROUNDING


def test_a_third_of_the_circle_makes_red_green() -> None:
    """A third of the circle also makes green blue and blue red, so no channels are swapped."""
    red, green, blue = np.eye(3, dtype=np.uint8)[:, None, None] * 200
    for start, end in [(red, green), (green, blue), (blue, red)]:
        np.testing.assert_array_equal(RotateHue(1 / 3).apply(start), end)


@given(pixels=images((1,)), saturation=st.floats(0, 3), hue=st.floats(-0.5, 0.5))
def test_gray_has_no_color_to_change(pixels: Pixels, saturation: float, hue: float) -> None:
    """Saturation and hue change neither one channel nor three equal ones."""
    gray = np.repeat(pixels, 3, axis=-1)
    for step in (ScaleSaturation(saturation), RotateHue(hue)):
        assert step.apply(pixels) is pixels
        np.testing.assert_array_equal(step.apply(gray), gray)


@given(pixels=images(), shifts=st.tuples(*[st.floats(-255, 255)] * 3))
def test_channel_shifts_are_added(pixels: Pixels, shifts: tuple[float, float, float]) -> None:
    """Each channel gets its own number, clipped at 0 and 255; a gray image gets the first."""
    exact = np.clip(pixels + np.array(shifts[: pixels.shape[-1]]), 0, 255)
    assert difference(apply_tables(pixels, [ShiftChannels(shifts)]), exact) <= ROUNDING


def test_a_shift_of_all_channels_equals_that_of_keras() -> None:
    """Without clipping, one number for all channels is the shift of ImageDataGenerator, before its brightness."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    pixels = np.random.default_rng(0).integers(100, 150, (20, 30, 3), dtype=np.uint8)
    pixels[0, 0], pixels[0, 1] = 0, 255  # Keras clips at the extremes of the image
    parameters = {"channel_shift_intensity": 30, "brightness": 0.8}
    theirs = ImageDataGenerator().apply_transform(pixels.astype(np.float32), parameters)
    steps = [ShiftChannels((30.0, 30.0, 30.0)), ScaleBrightness(0.8)]
    assert difference(apply_tables(pixels, steps), theirs) == 0


@given(pixels=images())
def test_neutral_amounts_leave_every_pixel(pixels: Pixels) -> None:
    """Factor 1, eight bits and a threshold above white change nothing."""
    for result in (sharpen(pixels, 1.0), posterize(pixels, 8), solarize(pixels, 256.0)):
        np.testing.assert_array_equal(result, pixels)
    assert ScaleSaturation(1.0).apply(pixels) is pixels
    assert RotateHue(0.0).apply(pixels) is pixels
    assert apply_tables(pixels, []) is pixels


@given(brightness=st.floats(0.0, 4.0), contrast=st.floats(0.0, 4.0), channels=st.sampled_from([1, 3]))
def test_contrast_and_brightness_equal_pillows(brightness: float, contrast: float, channels: int) -> None:
    """Contrast, then brightness, composed into one table, equal Pillow's ImageEnhance exactly."""
    pixels = np.random.default_rng(3).integers(40, 168, (16, 20, channels), dtype=np.uint8)
    enhanced = ImageEnhance.Brightness(ImageEnhance.Contrast(image_of(pixels)).enhance(contrast)).enhance(brightness)
    assert difference(apply_tables(pixels, [ScaleContrast(contrast), ScaleBrightness(brightness)]), enhanced) == 0


@given(
    pixels=images(),
    shifts=st.lists(st.tuples(*[st.floats(-255, 255)] * 3), min_size=1, max_size=3),
    brightness=st.floats(0.0, 4.0),
)
def test_composed_tables_equal_one_after_the_other(
    pixels: Pixels, shifts: list[tuple[float, float, float]], brightness: float
) -> None:
    """Tables composed into one, with and without a table per channel, map like one table after the other."""
    steps = [ScaleBrightness(brightness), *map(ShiftChannels, shifts), ScaleBrightness(0.7)]
    separately = pixels
    for step in steps:
        separately = apply_tables(separately, [step])
    np.testing.assert_array_equal(apply_tables(pixels, steps), separately)
