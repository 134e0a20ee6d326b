"""Intensity and color operations compared with Pillow, colorsys and exact arithmetic."""

from __future__ import annotations

import colorsys
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from cnncli.augmentation.color import (
    EIGENVALUES,
    EIGENVECTORS,
    LUMA,
    PcaJitter,
    rotate_hue,
    scale_brightness,
    scale_contrast,
    scale_saturation,
    shift_along_components,
    shift_channels,
)
from cnncli.augmentation.operation import ViewRandom
from cnncli.augmentation.rand_augment import change, sharpen

Pixels = NDArray[np.uint8]
ROUNDING = 0.501


@st.composite
def images(draw: st.DrawFn, channels: tuple[int, ...] = (1, 3)) -> Pixels:
    """Generate noise images of any size; their values span any range, down to a single value."""
    height, width = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    lowest, highest = sorted(draw(st.tuples(st.integers(0, 255), st.integers(0, 255))))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    return random.integers(lowest, highest + 1, (height, width, draw(st.sampled_from(channels))), dtype=np.uint8)


def image_of(pixels: Pixels) -> Image.Image:
    """Return the pixels as a Pillow image."""
    return Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])


def difference(ours: Pixels, theirs: Any) -> float:
    """Return the largest absolute difference between two images, in intensity levels."""
    assert ours.dtype == np.uint8
    return float(np.abs(ours.astype(float) - np.asarray(theirs, dtype=float).reshape(ours.shape)).max())


@given(pixels=images())
@pytest.mark.parametrize("kind", ["autocontrast", "equalize"])
def test_autocontrast_and_equalize_match_pillow(kind: str, pixels: Pixels) -> None:
    """Autocontrast and equalize match Pillow exactly, including on grayscale and on channels with a single value."""
    assert difference(change(pixels, kind, 0.3), getattr(ImageOps, kind)(image_of(pixels))) == 0


@given(pixels=images(), strength=st.floats(0, 1))
def test_posterize_and_solarize_match_pillow(pixels: Pixels, strength: float) -> None:
    """Posterize and solarize match Pillow exactly, with integer and fractional thresholds."""
    image, bits, threshold = image_of(pixels), 8 - round(4 * strength), 256.0 * (1.0 - strength)
    assert difference(change(pixels, "posterize", strength), ImageOps.posterize(image, bits)) == 0
    assert difference(change(pixels, "solarize", strength), ImageOps.solarize(image, threshold)) == 0


@given(pixels=images(), factor=st.floats(0, 2))
def test_sharpness_matches_pillow(pixels: Pixels, factor: float) -> None:
    """Sharpness differs from Pillow by at most one level, because Pillow rounds the smoothed image before blending."""
    assert difference(sharpen(pixels, factor), ImageEnhance.Sharpness(image_of(pixels)).enhance(factor)) <= 1


@given(pixels=images((3,)), factor=st.floats(0, 2))
def test_saturation_matches_pillow(pixels: Pixels, factor: float) -> None:
    """Saturation differs from Pillow by at most two levels, because Pillow truncates and rounds gray values."""
    assert difference(scale_saturation(pixels, factor), ImageEnhance.Color(image_of(pixels)).enhance(factor)) <= 2
    exact = np.repeat(pixels @ np.array(LUMA)[:, None], 3, axis=-1)
    assert difference(scale_saturation(pixels, 0.0), exact) <= ROUNDING + 0.005  # OpenCV weighs colors with 15 bits


@given(pixels=images((3,)), fraction=st.floats(-0.5, 0.5))
def test_hue_matches_colorsys(pixels: Pixels, fraction: float) -> None:
    """Rotating the hue matches colorsys up to one final rounding."""
    colors = (colorsys.rgb_to_hsv(*pixel) for pixel in pixels.reshape(-1, 3).astype(float))
    turned = [colorsys.hsv_to_rgb((hue + fraction) % 1, saturation, value) for hue, saturation, value in colors]
    assert difference(rotate_hue(pixels, fraction), turned) <= ROUNDING


def test_a_hue_rotation_by_a_third_turns_red_to_green() -> None:
    """A hue rotation by a third of the circle turns red to green, green to blue, and blue to red."""
    red, green, blue = np.eye(3, dtype=np.uint8)[:, None, None] * 200
    for start, end in [(red, green), (green, blue), (blue, red)]:
        np.testing.assert_array_equal(rotate_hue(start, 1 / 3), end)


@given(pixels=images((1,)), saturation=st.floats(0, 3), hue=st.floats(-0.5, 0.5))
def test_gray_is_unchanged_by_saturation_and_hue(pixels: Pixels, saturation: float, hue: float) -> None:
    """Changing saturation or hue leaves grayscale images and images with three equal channels unchanged."""
    gray = np.repeat(pixels, 3, axis=-1)
    for step in (partial(scale_saturation, factor=saturation), partial(rotate_hue, fraction=hue)):
        assert step(pixels) is pixels
        np.testing.assert_array_equal(step(gray), gray)


@given(pixels=images(), shifts=st.tuples(*[st.floats(-255, 255)] * 3))
def test_channel_shifts_are_added(pixels: Pixels, shifts: tuple[float, float, float]) -> None:
    """Each channel is shifted by its own amount and clipped to 0–255; a grayscale image uses the first amount."""
    exact = np.clip(pixels + np.array(shifts[: pixels.shape[-1]]), 0, 255)
    assert difference(shift_channels(pixels, shifts), exact) <= ROUNDING


def test_a_shift_of_all_channels_matches_keras() -> None:
    """Shifting all channels equally, then scaling brightness, matches ImageDataGenerator where nothing is clipped."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    pixels = np.random.default_rng(0).integers(100, 150, (20, 30, 3), dtype=np.uint8)
    pixels[0, 0], pixels[0, 1] = 0, 255  # Keras clips at the extremes of the image
    parameters = {"channel_shift_intensity": 30, "brightness": 0.8}
    theirs = ImageDataGenerator().apply_transform(pixels.astype(np.float32), parameters)
    ours = scale_brightness(shift_channels(pixels, (30.0, 30.0, 30.0)), 0.8)
    assert difference(ours, theirs) == 0


@given(pixels=images())
def test_neutral_amounts_change_no_pixel(pixels: Pixels) -> None:
    """Factors of 1 and shifts of 0 leave every pixel unchanged."""
    for changed in (
        scale_contrast(pixels, 1.0),
        scale_brightness(pixels, 1.0),
        shift_channels(pixels, (0.0, 0.0, 0.0)),
    ):
        np.testing.assert_array_equal(changed, pixels)
    np.testing.assert_array_equal(sharpen(pixels, 1.0), pixels)
    assert scale_saturation(pixels, 1.0) is pixels
    assert rotate_hue(pixels, 0.0) is pixels


@given(brightness=st.floats(0.0, 4.0), contrast=st.floats(0.0, 4.0), channels=st.sampled_from([1, 3]))
def test_contrast_and_brightness_match_pillow(brightness: float, contrast: float, channels: int) -> None:
    """Contrast followed by brightness matches Pillow's ImageEnhance exactly."""
    pixels = np.random.default_rng(3).integers(40, 168, (16, 20, channels), dtype=np.uint8)
    enhanced = ImageEnhance.Brightness(ImageEnhance.Contrast(image_of(pixels)).enhance(contrast)).enhance(brightness)
    assert difference(scale_brightness(scale_contrast(pixels, contrast), brightness), enhanced) == 0


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_pca_jitter_shifts_along_the_components_of_imagenet(channels: int) -> None:
    """Row 148. AlexNet's jitter adds the weighted eigenvectors to RGB, and leaves alpha and other images unchanged."""
    pixels = np.full((2, 3, channels), 128, np.uint8)
    weights = (0.3, -0.2, 0.1)
    shifted = shift_along_components(pixels, weights)
    if channels in (1, 6):
        np.testing.assert_array_equal(shifted, pixels)
        return
    parts = zip(weights, EIGENVALUES, np.transpose(EIGENVECTORS), strict=True)
    levels = 255 * sum(weight * value * vector for weight, value, vector in parts)
    np.testing.assert_array_equal(shifted[0, 0, :3], np.rint(128 + levels))
    assert (shifted[..., 3:] == 128).all()


def test_the_components_are_orthonormal_and_the_first_is_brightness() -> None:
    """The eigenvectors are orthonormal, and the first one changes red, green and blue almost equally."""
    np.testing.assert_allclose(np.array(EIGENVECTORS).T @ np.array(EIGENVECTORS), np.eye(3), atol=2e-3)
    assert np.ptp(np.array(EIGENVECTORS)[:, 0]) < 0.02


def test_pca_jitter_is_drawn_with_its_deviation() -> None:
    """Row 148. Over many keys, the first weight is normal with the standard deviation of the setting."""
    operation = PcaJitter(pca_jitter=0.1)
    weights = [step.keywords["weights"] for k in range(400) for step in operation.draw(ViewRandom(("view", k)))]  # type: ignore[attr-defined]
    assert np.std(weights, axis=0) == pytest.approx([0.1] * 3, rel=0.15)
    assert np.mean(weights, axis=0) == pytest.approx([0.0] * 3, abs=0.02)
