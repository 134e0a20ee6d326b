"""Operations on intensity and color: contrast, channel shift and brightness as one table, then saturation and hue.

Contrast, brightness and saturation mean what they mean in Pillow's ImageEnhance, which Keras's ImageDataGenerator uses
for brightness. Contrast comes first, so that its mean is that of the image before any other table. A channel shift adds
intensity levels to each channel, as ImageDataGenerator documents it (Keras 3.15 adds one number to all channels and
clips at the extremes of the image; here each channel has its own number, clipped at 0 and 255). Hue rotates the circle
of the HSV color space, as torchvision and `tf.image.adjust_hue` do, without rounding in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        from cnncli.augmentation.intensity import blend_table, mean_gray

        return blend_table(mean_gray(pixels), self.factor)


@dataclass(frozen=True)
class ScaleBrightness(TableStep):
    """Brightness: each value times `factor`."""

    factor: float

    def table(self, pixels: Pixels) -> Pixels:  # noqa: ARG002 - the same for every image
        """Return the table."""
        from cnncli.augmentation.intensity import blend_table

        return blend_table(0, self.factor)


@dataclass(frozen=True)
class ShiftChannels(TableStep):
    """Channel shift: `levels` added to red, green and blue; a gray image uses the first."""

    levels: tuple[float, float, float]

    def table(self, pixels: Pixels) -> Pixels:
        """Return a table for each channel, rounded and clipped to 0-255."""
        import numpy as np

        shifted = np.arange(256) + np.array(self.levels[: pixels.shape[-1]])[:, None]
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
        import numpy as np

        colors = cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2HSV)  # degrees, 0-1, 0-255
        degrees = 360.0 * (self.fraction % 1.0)  # OpenCV takes angles from 0 to 720 degrees
        rotated = cv2.cvtColor(cv2.add(colors, (degrees, 0.0, 0.0, 0.0)), cv2.COLOR_HSV2RGB)
        return np.asarray(np.rint(rotated), dtype=np.uint8)
