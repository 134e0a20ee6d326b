"""Operations on intensity and color: contrast, channel shift, brightness, saturation and hue.

Contrast, brightness and saturation mean what they mean in Pillow's ImageEnhance, which Keras's ImageDataGenerator uses
for brightness. A channel shift adds intensity levels to each channel, as ImageDataGenerator documents it (Keras 3.15
adds one number to all channels and clips at the extremes of the image; here each channel has its own number, clipped at
0 and 255). PCA jitter shifts colors along the principal components of ImageNet's colors. Hue rotates the circle of the
HSV color space, as torchvision and `tf.image.adjust_hue` do, without rounding in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from cnncli.augmentation.operation import (
    LEVELS,
    FactorOperation,
    Operation,
    Pixels,
    PixelStep,
    ViewRandom,
    except_alpha,
)
from cnncli.catalogue.settings import Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a gray value (ITU-R BT.601, as in Pillow's mode L)."""


EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
"""Eigenvalues of the covariance of the colors (0–1) of ImageNet's pixels, and its eigenvectors as columns, in rows for
red, green and blue, as published with fb.resnet.torch."""


class Contrast(FactorOperation):
    """Contrast around the mean gray value."""

    contrast_range: Range | None = None
    """[lowest, highest] contrast factor about the mean of the image; 1 is unchanged."""

    def draw(self, random: ViewRandom) -> Sequence[PixelStep]:
        """Draw the factor."""
        return (partial(scale_contrast, factor=self.factor(random.shared["contrast"])),)


class ChannelShift(Operation):
    """Shift of each color channel."""

    channel_shift_range: float = Field(default=0.0, ge=0.0, le=255.0)
    """Maximum value added to each channel, in both directions, drawn per channel."""
    unit = LEVELS
    description = "channel shift ±{channel_shift_range:g}"

    def draw(self, random: ViewRandom) -> Sequence[PixelStep]:
        """Draw a shift for each channel."""
        names = ("red_shift", "green_shift", "blue_shift")
        levels = tuple(random.plus_minus(name, self.channel_shift_range) for name in names)
        return (partial(shift_channels, levels=levels),)


class Brightness(FactorOperation):
    """Brightness."""

    brightness_range: Range | None = None
    """[lowest, highest] brightness factor; 1 is unchanged."""

    def draw(self, random: ViewRandom) -> Sequence[PixelStep]:
        """Draw the factor."""
        return (partial(scale_brightness, factor=self.factor(random.shared["brightness"])),)


class Saturation(FactorOperation):
    """Saturation."""

    saturation_range: Range | None = None
    """[lowest, highest] saturation factor; 0 is gray, 1 is unchanged."""

    def draw(self, random: ViewRandom) -> Sequence[PixelStep]:
        """Draw the factor."""
        return (partial(scale_saturation, factor=self.factor(random.shared["saturation"])),)


class Hue(Operation):
    """Hue."""

    hue_range: float = Field(default=0.0, ge=0.0, le=0.5)
    """Maximum hue shift as a fraction of the color circle, in both directions; 0.5 reaches every hue."""
    description = "hue ±{hue_range:g} of the circle"

    def draw(self, random: ViewRandom) -> Sequence[PixelStep]:
        """Draw the angle."""
        return (partial(rotate_hue, fraction=random.plus_minus("hue", self.hue_range)),)


class PcaJitter(Operation):
    """Shift of the color along the principal components of ImageNet's colors, as for AlexNet."""

    pca_jitter: float = Field(default=0.0, ge=0.0, le=10.0)
    """Standard deviation of AlexNet's PCA color jitter (Krizhevsky, Sutskever and Hinton 2012); 0.1 as published."""
    description = "PCA color jitter {pca_jitter:g}"

    def draw(self, random: ViewRandom) -> Sequence[PixelStep]:
        """Draw a normal number for each component."""
        weights = random.stream("pca_jitter").normal(0.0, self.pca_jitter, 3)
        return (partial(shift_along_components, weights=tuple(weights.tolist())),)


@except_alpha
def scale_contrast(pixels: Pixels, factor: float) -> Pixels:
    """Multiply each value's distance from the image's mean gray value by `factor`."""
    import cv2
    import numpy as np

    channels = pixels.shape[-1]
    if channels in (1, 3):
        mean = np.array(cv2.mean(pixels)[:channels]) @ np.array(LUMA if channels == 3 else (1.0,))
    else:
        mean = pixels.mean()
    return _blend(int(mean + 0.5), pixels, factor)


@except_alpha
def scale_brightness(pixels: Pixels, factor: float) -> Pixels:
    """Multiply each value by `factor`."""
    return _blend(0, pixels, factor)


@except_alpha
def shift_channels(pixels: Pixels, levels: tuple[float, ...]) -> Pixels:
    """Add `levels` to red, green and blue, rounded and clipped to 0–255; other channels use them in turn."""
    import numpy as np

    return look_up(pixels, np.rint(np.arange(256) + np.resize(levels, pixels.shape[-1])[:, None]))


def shift_along_components(pixels: Pixels, weights: tuple[float, ...]) -> Pixels:
    """Add Σ wᵢ · λᵢ · pᵢ to the colors of an image; images other than RGB and RGBA are unchanged.

    λᵢ and pᵢ are the eigenvalues and eigenvectors of the covariance of ImageNet's colors, see `EIGENVALUES`.
    """
    import numpy as np

    n_others = pixels.shape[-1] - 3
    if n_others not in (0, 1):  # RGB, or RGBA, whose alpha stays
        return pixels
    levels = 255.0 * np.array(EIGENVECTORS) @ (np.array(EIGENVALUES) * np.array(weights))
    return shift_channels(pixels, (*levels.tolist(), *[0.0] * n_others))


@except_alpha
def scale_saturation(pixels: Pixels, factor: float) -> Pixels:
    """Multiply each pixel's distance from its gray value by `factor`; images without colors are unchanged."""
    if pixels.shape[-1] != 3 or factor == 1.0:
        return pixels
    import cv2

    gray = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    saturated: Pixels = cv2.addWeighted(pixels, factor, gray, 1.0 - factor, 0.0)
    return saturated


@except_alpha
def rotate_hue(pixels: Pixels, fraction: float) -> Pixels:
    """Rotate the hue by a `fraction` of the color circle (1/3 turns red into green); keep value and saturation."""
    if pixels.shape[-1] != 3 or not fraction % 1.0:
        return pixels
    import cv2
    import numpy as np

    colors = cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2HSV)  # degrees, 0-1, 0-255
    degrees = 360.0 * (fraction % 1.0)  # OpenCV takes angles from 0 to 720 degrees
    rotated = cv2.cvtColor(cv2.add(colors, (degrees, 0.0, 0.0, 0.0)), cv2.COLOR_HSV2RGB)
    return np.asarray(np.rint(rotated), dtype=np.uint8)


def look_up(pixels: Pixels, table: NDArray[Any]) -> Pixels:
    """Replace each value by its entry, clipped to 0–255, in a table of shape (256,) or (channels, 256)."""
    import cv2
    import numpy as np

    table = np.ascontiguousarray(table.clip(0, 255).astype(np.uint8).T)
    mapped: Pixels = cv2.LUT(pixels, table if table.ndim == 1 else table[None])
    return mapped.reshape(pixels.shape)  # OpenCV drops the axis of a single channel


def _blend(ground: int, pixels: Pixels, factor: float) -> Pixels:
    """Return Pillow's `Image.blend(ground, image, factor)`, clipped to 0–255 and truncated to integers."""
    import numpy as np

    levels = np.arange(256, dtype=np.float32)
    return look_up(pixels, np.float32(ground) + np.float32(factor) * (levels - np.float32(ground)))
