"""Contrast, channel shifts and brightness, as one table of 256 gray values, or of one for each channel.

Contrast and brightness mean what they mean in Pillow's ImageEnhance, which is also what Keras's ImageDataGenerator uses
for brightness. Contrast comes first, so that its mean is that of the image as it stands and one pass over the pixels
does all. A channel shift adds gray levels to one channel, as ImageDataGenerator's words say (Keras 3.15 adds one number
to all channels and cuts off at the image's own extremes; here every channel has its own, cut off at 0 and 255).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a gray value (ITU-R BT.601, as in Pillow's mode L)."""


@dataclass(frozen=True)
class Tone:
    """What one rendering does to the gray values; the defaults do nothing.

    Attributes:
        contrast: factor of each value's distance to the image's mean.
        brightness: factor of each value.
        channel_shifts: gray levels added to each value of a channel; of a gray image the first counts.
    """

    contrast: float = 1.0
    brightness: float = 1.0
    channel_shifts: tuple[float, float, float] = (0.0, 0.0, 0.0)


def adjust(pixels: NDArray[np.uint8], tone: Tone) -> NDArray[np.uint8]:
    """An image after contrast, channel shifts and brightness.

    Args:
        pixels: uint8 (height, width, channels), one channel or three.
        tone: what to do; `Tone()` returns `pixels` itself.
    Returns: uint8, same shape.
    """
    if tone == Tone():
        return pixels
    import cv2

    mean = mean_gray(pixels) if tone.contrast != 1.0 else 0
    adjusted: NDArray[np.uint8] = cv2.LUT(pixels, tone_table(tone, mean, pixels.shape[-1]))
    return adjusted.reshape(pixels.shape)


def tone_table(tone: Tone, mean: int, channels: int) -> NDArray[np.uint8]:
    """The new value of each of the 256 gray values.

    Args:
        tone: what to do.
        mean: the image's mean gray value.
        channels: one or three.
    Returns: shape (256,) for all channels alike, or (1, 256, channels).
    """
    contrast, brightness = _blend(mean, tone.contrast), _blend(0, tone.brightness)
    if not any(tone.channel_shifts):
        return brightness[contrast]
    return np.stack([brightness[_added(shift)[contrast]] for shift in tone.channel_shifts[:channels]], axis=-1)[None]


def mean_gray(pixels: NDArray[np.uint8]) -> int:
    """An image's mean gray value, rounded to a whole one."""
    import cv2

    channels = pixels.shape[-1]
    means = np.array(cv2.mean(pixels)[:channels])
    return int(means @ np.array(LUMA) + 0.5) if channels == len(LUMA) else int(means[0] + 0.5)


def _blend(ground: int, factor: float) -> NDArray[np.uint8]:
    """Pillow's `Image.blend(ground, image, factor)` for each gray value: cut off at 0 and 255, fractions dropped."""
    levels = np.arange(256, dtype=np.float32)
    values = np.float32(ground) + np.float32(factor) * (levels - np.float32(ground))
    table: NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
    return table


def _added(shift: float) -> NDArray[np.uint8]:
    """Each gray value plus a shift, rounded, cut off at 0 and 255."""
    table: NDArray[np.uint8] = np.clip(np.rint(np.arange(256) + shift), 0, 255).astype(np.uint8)
    return table
