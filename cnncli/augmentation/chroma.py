"""Saturation and hue of an image.

Saturation means what it means in Pillow's ImageEnhance.Color: the image is blended with its own gray values. Hue
turns the circle of the HSV color space, as torchvision and `tf.image.adjust_hue` do, without rounding in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Chroma:
    """What one rendering does to the colors; the defaults do nothing.

    Attributes:
        saturation: factor of each pixel's distance to its gray value.
        hue: turn of the color circle, as a fraction of it; 1/3 makes red green.
    """

    saturation: float = 1.0
    hue: float = 0.0


def recolor(pixels: NDArray[np.uint8], chroma: Chroma) -> NDArray[np.uint8]:
    """An image after saturation, then hue.

    Args:
        pixels: uint8 (height, width, channels); one channel has no colors and comes back as it is.
        chroma: what to do; `Chroma()` returns `pixels` itself.
    Returns: uint8, same shape.
    """
    if pixels.shape[-1] == 1:
        return pixels
    if chroma.saturation != 1.0:
        pixels = saturate(pixels, chroma.saturation)
    return turn_hue(pixels, chroma.hue) if chroma.hue % 1.0 else pixels


def saturate(pixels: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Each RGB pixel's distance to its gray value times a factor, rounded and cut off at 0 and 255."""
    import cv2

    gray = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    saturated: NDArray[np.uint8] = cv2.addWeighted(pixels, factor, gray, 1.0 - factor, 0.0)
    return saturated


def turn_hue(pixels: NDArray[np.uint8], fraction: float) -> NDArray[np.uint8]:
    """RGB pixels with their hue turned by a fraction of the circle; value and saturation stay."""
    import cv2

    colors = cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2HSV)  # degrees, 0-1, 0-255
    degrees = 360.0 * (fraction % 1.0)  # OpenCV takes angles up to 720 back into the circle, and no negative ones
    turned = cv2.cvtColor(cv2.add(colors, (degrees, 0.0, 0.0, 0.0)), cv2.COLOR_HSV2RGB)
    return np.asarray(np.rint(turned), dtype=np.uint8)
