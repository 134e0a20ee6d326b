"""Operations of Pillow's ImageOps and ImageEnhance on arrays, most of them as tables of 256 gray values.

The tables equal Pillow's exactly. Sharpness is one linear filter and differs by at most one gray level, since Pillow
rounds the smoothed image before it blends.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
LEVELS = np.arange(256)
SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
"""Pillow's filter SMOOTH."""


def autocontrast(pixels: Pixels) -> Pixels:
    """Each channel stretched so that its darkest value becomes 0 and its lightest 255."""
    return _by_channel(pixels, _stretching)


def equalize(pixels: Pixels) -> Pixels:
    """Each channel's values spread so that their histogram is as flat as it can be."""
    return _by_channel(pixels, _flattening)


def posterize(pixels: Pixels, bits: int) -> Pixels:
    """Only the highest `bits` (0-8) of each value."""
    return _look_up(pixels, LEVELS & ~(2 ** (8 - bits) - 1))


def solarize(pixels: Pixels, threshold: float) -> Pixels:
    """Values from the threshold on inverted; from 256 on, none."""
    return _look_up(pixels, np.where(threshold > LEVELS, LEVELS, 255 - LEVELS))


def sharpen(pixels: Pixels, factor: float) -> Pixels:
    """The image blended with a smoothed one: 0 is smooth, 1 changes nothing, 2 is sharp; the border pixels stay."""
    import cv2

    kernel = (1.0 - factor) * SMOOTH
    kernel[1, 1] += factor
    sharpened = pixels.copy()
    sharpened[1:-1, 1:-1] = cv2.filter2D(pixels, -1, kernel).reshape(pixels.shape)[1:-1, 1:-1]
    return sharpened


def _by_channel(pixels: Pixels, table_of: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> Pixels:
    """Each channel through a table made from its histogram."""
    import cv2

    histograms = [cv2.calcHist([pixels], [n], None, [256], [0, 256]).ravel() for n in range(pixels.shape[-1])]
    return _look_up(pixels, np.stack([table_of(counts.astype(np.int64)) for counts in histograms], axis=-1)[None])


def _look_up(pixels: Pixels, table: NDArray[np.int64]) -> Pixels:
    """Values through a table of shape (256,), or (1, 256, channels)."""
    import cv2

    looked_up: Pixels = cv2.LUT(pixels, table.clip(0, 255).astype(np.uint8))
    return looked_up.reshape(pixels.shape)  # OpenCV drops the axis of a single channel


def _stretching(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    (present,) = np.nonzero(counts)
    lowest, highest = int(present[0]), int(present[-1])
    if lowest == highest:
        return LEVELS
    scale = 255.0 / (highest - lowest)
    return np.asarray((LEVELS * scale - lowest * scale).astype(np.int64))


def _flattening(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    (present,) = np.nonzero(counts)
    step = int(counts.sum() - counts[present[-1]]) // 255
    if not step:
        return LEVELS
    below = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.asarray((step // 2 + below) // step)
