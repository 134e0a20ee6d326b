"""Functions on the intensities of an image: lookup tables, and the operations of Pillow's ImageOps and ImageEnhance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.operation import Pixels, TableStep

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a gray value (ITU-R BT.601, as in Pillow's mode L)."""

LEVELS = np.arange(256)

_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
"""Pillow's filter SMOOTH."""


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


def mean_gray(pixels: Pixels) -> int:
    """Return the mean gray value of an image, rounded to an integer."""
    import cv2

    channels = pixels.shape[-1]
    means = np.array(cv2.mean(pixels)[:channels])
    return int(means @ np.array(LUMA) + 0.5) if channels == len(LUMA) else int(means[0] + 0.5)


def blend_table(ground: int, factor: float) -> Pixels:
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
