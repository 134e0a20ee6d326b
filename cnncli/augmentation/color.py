"""Operations on intensity and color: contrast, channel shift and brightness as one table, then saturation and hue.

Contrast, brightness and saturation mean what they mean in Pillow's ImageEnhance, which Keras's ImageDataGenerator uses
for brightness. Contrast comes first, so that its mean is that of the image before any other table. A channel shift adds
intensity levels to each channel, as ImageDataGenerator documents it (Keras 3.15 adds one number to all channels and
clips at the extremes of the image; here each channel has its own number, clipped at 0 and 255). Hue rotates the circle
of the HSV color space, as torchvision and `tf.image.adjust_hue` do, without rounding in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cnncli.augmentation.operation import (
    LEVELS_NOT_FRACTIONS,
    UNCHANGED,
    Operation,
    Pixels,
    PixelStep,
    TableStep,
    ViewRandom,
    between,
    describe_factor,
    factor_notes,
    plus_minus,
    unit_notes,
)
from cnncli.catalogue.settings import Range
from cnncli.errors import Message

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a gray value (ITU-R BT.601, as in Pillow's mode L)."""

LEVELS = np.arange(256)

_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
"""Pillow's filter SMOOTH."""


class Contrast(Operation):
    """Contrast about the mean."""

    contrast_range: Range | None = None
    """[lowest, highest] contrast factor about the mean of the image; 1 is unchanged."""

    def draw(self, random: ViewRandom) -> Sequence[ScaleContrast]:
        """Draw the factor."""
        return (ScaleContrast(between(self.contrast_range or UNCHANGED, random.shared("contrast"))),)

    def describe(self) -> str:
        """Describe the range."""
        return describe_factor("contrast", self.contrast_range or UNCHANGED)

    def notes(self) -> Sequence[Message]:
        """Warn of a range without 1."""
        return factor_notes("contrast_range", self.contrast_range or UNCHANGED)


class ChannelShift(Operation):
    """Shift of each channel."""

    channel_shift_range: float = Field(default=0.0, ge=0.0, le=255.0)
    """Maximum value added to each channel, in both directions, drawn per channel."""

    def draw(self, random: ViewRandom) -> Sequence[ShiftChannels]:
        """Draw a number for each channel."""
        red, green, blue = (
            plus_minus(self.channel_shift_range, random.shared(f"{channel}_shift"))
            for channel in ("red", "green", "blue")
        )
        return (ShiftChannels((red, green, blue)),)

    def describe(self) -> str:
        """Describe the range."""
        return f"channel shift ±{self.channel_shift_range:g}"

    def notes(self) -> Sequence[Message]:
        """Warn of a shift that looks like a fraction."""
        return unit_notes("channel_shift_range", self.channel_shift_range, LEVELS_NOT_FRACTIONS)


class Brightness(Operation):
    """Brightness."""

    brightness_range: Range | None = None
    """[lowest, highest] brightness factor; 1 is unchanged."""

    def draw(self, random: ViewRandom) -> Sequence[ScaleBrightness]:
        """Draw the factor."""
        return (ScaleBrightness(between(self.brightness_range or UNCHANGED, random.shared("brightness"))),)

    def describe(self) -> str:
        """Describe the range."""
        return describe_factor("brightness", self.brightness_range or UNCHANGED)

    def notes(self) -> Sequence[Message]:
        """Warn of a range without 1."""
        return factor_notes("brightness_range", self.brightness_range or UNCHANGED)


class Saturation(Operation):
    """Saturation."""

    saturation_range: Range | None = None
    """[lowest, highest] saturation factor; 0 is gray, 1 is unchanged."""

    def draw(self, random: ViewRandom) -> Sequence[ScaleSaturation]:
        """Draw the factor."""
        return (ScaleSaturation(between(self.saturation_range or UNCHANGED, random.shared("saturation"))),)

    def describe(self) -> str:
        """Describe the range."""
        return describe_factor("saturation", self.saturation_range or UNCHANGED)

    def notes(self) -> Sequence[Message]:
        """Warn of a range without 1."""
        return factor_notes("saturation_range", self.saturation_range or UNCHANGED)


class Hue(Operation):
    """Hue."""

    hue_range: float = Field(default=0.0, ge=0.0, le=0.5)
    """Maximum hue shift as a fraction of the color circle, in both directions; 0.5 reaches every hue."""

    def draw(self, random: ViewRandom) -> Sequence[RotateHue]:
        """Draw the angle."""
        return (RotateHue(plus_minus(self.hue_range, random.shared("hue"))),)

    def describe(self) -> str:
        """Describe the range."""
        return f"hue ±{self.hue_range:g} of the circle"


@dataclass(frozen=True)
class ScaleContrast(TableStep):
    """Contrast: each value's distance to the mean gray value of the image times `factor`."""

    factor: float

    def table(self, pixels: Pixels) -> Pixels:
        """Return the table for this image."""
        return _blend(_mean_gray(pixels), self.factor)


@dataclass(frozen=True)
class ScaleBrightness(TableStep):
    """Brightness: each value times `factor`."""

    factor: float

    def table(self, pixels: Pixels) -> Pixels:  # noqa: ARG002 - the same for every image
        """Return the table."""
        return _blend(0, self.factor)


@dataclass(frozen=True)
class ShiftChannels(TableStep):
    """Channel shift: `levels` added to red, green and blue; a gray image uses the first."""

    levels: tuple[float, float, float]

    def table(self, pixels: Pixels) -> Pixels:
        """Return a table for each channel, rounded and clipped to 0-255."""
        shifted = LEVELS + np.array(self.levels[: pixels.shape[-1]])[:, None]
        table: Pixels = np.clip(np.rint(shifted), 0, 255).astype(np.uint8)
        return table


@dataclass(frozen=True)
class ScaleSaturation(PixelStep):
    """Saturation: each pixel's distance to its gray value times `factor`."""

    factor: float

    def apply(self, pixels: Pixels) -> Pixels:
        """Return the changed image; images with one channel have no color."""
        if pixels.shape[-1] == 1 or self.factor == 1.0:
            return pixels
        import cv2

        gray = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        saturated: Pixels = cv2.addWeighted(pixels, self.factor, gray, 1.0 - self.factor, 0.0)
        return saturated


@dataclass(frozen=True)
class RotateHue(PixelStep):
    """Hue: rotation of the color circle by a `fraction` of it; 1/3 makes red green. Keeps value and saturation."""

    fraction: float

    def apply(self, pixels: Pixels) -> Pixels:
        """Return the changed image; images with one channel have no color."""
        if pixels.shape[-1] == 1 or not self.fraction % 1.0:
            return pixels
        import cv2

        colors = cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2HSV)  # degrees, 0-1, 0-255
        degrees = 360.0 * (self.fraction % 1.0)  # OpenCV takes angles from 0 to 720 degrees
        rotated = cv2.cvtColor(cv2.add(colors, (degrees, 0.0, 0.0, 0.0)), cv2.COLOR_HSV2RGB)
        return np.asarray(np.rint(rotated), dtype=np.uint8)


def apply_tables(pixels: Pixels, steps: Sequence[TableStep]) -> Pixels:
    """Apply the tables of steps in order, composed into one, to an image with one channel or three."""
    if not steps:
        return pixels
    table = np.arange(256, dtype=np.uint8)
    for step in steps:
        following = step.table(pixels)
        if following.ndim == 1:
            table = following[table]
        else:
            before = np.broadcast_to(table, following.shape)
            table = np.stack([following[channel][values] for channel, values in enumerate(before)])
    return _look_up(pixels, table)


def autocontrast(pixels: Pixels) -> Pixels:
    """Stretch each channel so that its darkest value becomes 0 and its lightest 255, exactly as Pillow's ImageOps."""
    return _map_channels(pixels, _stretching_table)


def equalize(pixels: Pixels) -> Pixels:
    """Spread the values of each channel so that its histogram is as flat as possible, exactly as Pillow's ImageOps."""
    return _map_channels(pixels, _flattening_table)


def posterize(pixels: Pixels, bits: int) -> Pixels:
    """Keep only the highest `bits` (0-8) of each value, exactly as Pillow's ImageOps."""
    return _look_up(pixels, LEVELS & ~(2 ** (8 - bits) - 1))


def solarize(pixels: Pixels, threshold: float) -> Pixels:
    """Invert values from the threshold on, exactly as Pillow's ImageOps; from 256 on, none."""
    return _look_up(pixels, np.where(threshold > LEVELS, LEVELS, 255 - LEVELS))


def sharpen(pixels: Pixels, factor: float) -> Pixels:
    """Blend an image with a smoothed copy: 0 is smooth, 1 is unchanged, 2 is sharp. Border pixels stay.

    This is one linear filter. It differs from Pillow's ImageEnhance.Sharpness by at most one level, since Pillow rounds
    the smoothed image before blending.
    """
    import cv2

    kernel = (1.0 - factor) * _SMOOTH
    kernel[1, 1] += factor
    sharpened = pixels.copy()
    sharpened[1:-1, 1:-1] = cv2.filter2D(pixels, -1, kernel).reshape(pixels.shape)[1:-1, 1:-1]
    return sharpened


def _mean_gray(pixels: Pixels) -> int:
    """Return the mean gray value of an image, rounded to an integer."""
    import cv2

    channels = pixels.shape[-1]
    means = np.array(cv2.mean(pixels)[:channels])
    return int(means @ np.array(LUMA) + 0.5) if channels == len(LUMA) else int(means[0] + 0.5)


def _blend(ground: int, factor: float) -> Pixels:
    """Return Pillow's `Image.blend(ground, image, factor)` of each value: clipped to 0-255, fractions dropped."""
    values = np.float32(ground) + np.float32(factor) * (LEVELS.astype(np.float32) - np.float32(ground))
    table: Pixels = np.clip(values, 0, 255).astype(np.uint8)
    return table


def _map_channels(pixels: Pixels, table_of: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> Pixels:
    """Apply to each channel the table made from its histogram."""
    import cv2

    histograms = [cv2.calcHist([pixels], [n], None, [256], [0, 256]).ravel() for n in range(pixels.shape[-1])]
    return _look_up(pixels, np.stack([table_of(counts.astype(np.int64)) for counts in histograms]))


def _look_up(pixels: Pixels, table: NDArray[Any]) -> Pixels:
    """Map values through a table of shape (256,) or (channels, 256)."""
    import cv2

    table = table.clip(0, 255).astype(np.uint8)
    if table.ndim > 1:
        table = np.ascontiguousarray(table.T)[None]
    mapped: Pixels = cv2.LUT(pixels, table)
    return mapped.reshape(pixels.shape)  # OpenCV drops the axis of a single channel


def _stretching_table(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    (present,) = np.nonzero(counts)
    lowest, highest = int(present[0]), int(present[-1])
    if lowest == highest:
        return LEVELS
    scale = 255.0 / (highest - lowest)
    return np.asarray((LEVELS * scale - lowest * scale).astype(np.int64))


def _flattening_table(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    (present,) = np.nonzero(counts)
    step = int(counts.sum() - counts[present[-1]]) // 255
    if not step:
        return LEVELS
    below = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.asarray((step // 2 + below) // step)
