"""Contrast and brightness, as one table of 256 grey values.

Both mean what they mean in Pillow's ImageEnhance, which is also what Keras's ImageDataGenerator uses for brightness.
Contrast comes first, so that its mean is that of the picture as it stands and one pass over the pixels does both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601, as in Pillow's mode L)."""


@dataclass(frozen=True)
class Tone:
    """What one rendering does to the grey values; the defaults do nothing.

    Attributes:
        contrast: factor of each value's distance to the picture's mean.
        brightness: factor of each value.
    """

    contrast: float = 1.0
    brightness: float = 1.0


def adjust(pixels: NDArray[np.uint8], tone: Tone) -> NDArray[np.uint8]:
    """A picture after contrast and brightness.

    Args:
        pixels: uint8 (height, width, channels), one channel or three.
        tone: the factors; `Tone()` returns `pixels` itself.
    Returns: uint8, same shape.
    """
    if tone == Tone():
        return pixels
    import cv2

    mean = mean_grey(pixels) if tone.contrast != 1.0 else 0
    adjusted: NDArray[np.uint8] = cv2.LUT(pixels, tone_table(tone, mean))
    return adjusted.reshape(pixels.shape)


def tone_table(tone: Tone, mean: int) -> NDArray[np.uint8]:
    """The new value of each of the 256 grey values, shape (256,); `mean` is the picture's mean grey value."""
    return _blend(0, tone.brightness)[_blend(mean, tone.contrast)]


def mean_grey(pixels: NDArray[np.uint8]) -> int:
    """A picture's mean grey value, rounded to a whole one."""
    import cv2

    channels = pixels.shape[-1]
    means = np.array(cv2.mean(pixels)[:channels])
    return int(means @ np.array(LUMA) + 0.5) if channels == len(LUMA) else int(means[0] + 0.5)


def _blend(ground: int, factor: float) -> NDArray[np.uint8]:
    """Pillow's `Image.blend(ground, picture, factor)` for each grey value: cut off at 0 and 255, fractions dropped."""
    levels = np.arange(256, dtype=np.float32)
    values = np.float32(ground) + np.float32(factor) * (levels - np.float32(ground))
    table: NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
    return table
