"""Explanations by hiding parts of an image: occlusion, and the insertion and deletion scores of an importance map.

Both only classify changed images, so they need no gradients and run on the engine of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]
Score = Callable[[Pixels], NDArray[Any]]
"""Returns a score (n,) of images (n, height, width, channels)."""

PATCHES = 6
"""Number of patches side by side in an image; each covers a third of it, and the next begins after a sixth."""
STEPS = 28
"""Number of steps in which pixels are inserted or deleted."""
BLUR = 1 / 10
"""Standard deviation of the blur of the image into which pixels are inserted, as a fraction of its sides."""


def occlude(score: Score, pixels: Pixels, patches: int = PATCHES) -> Map:
    """Return how much the score falls where a patch hides the image: Zeiler and Fergus 2013 (arXiv 1311.2901).

    Args:
        score: Score to explain.
        pixels: Image (height, width, channels).
        patches: Number of places of the patch in each direction. The patch spans two of them on each side, and has the
            mean color of the image.

    Returns:
        Mean fall of the score over the patches that cover a pixel, float32 (height, width); negative where it rises.
    """
    height, width, _ = pixels.shape
    mean = pixels.mean(axis=(0, 1)).round().astype(np.uint8)
    rows, columns = (np.linspace(0, side, patches + 2).round().astype(int) for side in (height, width))
    boxes = [
        (slice(rows[y], rows[y + 2]), slice(columns[x], columns[x + 2])) for y in range(patches) for x in range(patches)
    ]
    hidden = np.repeat(pixels[None], len(boxes) + 1, axis=0)
    for image, box in zip(hidden[1:], boxes, strict=True):
        image[box] = mean
    scores = score(hidden)
    total, count = np.zeros((2, height, width))
    for box, fall in zip(boxes, scores[0] - scores[1:], strict=True):
        total[box] += fall
        count[box] += 1
    return (total / count).astype(np.float32)


def deletion_score(score: Score, pixels: Pixels, importance: Map, steps: int = STEPS) -> float:
    """Return the mean score while the most important pixels are replaced by the mean color first.

    A good map gives a low value: Petsiuk, Das and Saenko 2018 (arXiv 1806.07421).
    """
    gray = np.broadcast_to(pixels.mean(axis=(0, 1)).round().astype(np.uint8), pixels.shape)
    return float(np.mean(score(_transitions(pixels, gray, importance, steps))))


def insertion_score(score: Score, pixels: Pixels, importance: Map, steps: int = STEPS) -> float:
    """Return the mean score while the most important pixels are inserted into a blurred image first.

    A good map gives a high value.
    """
    import cv2

    blurred = cv2.GaussianBlur(pixels, (0, 0), BLUR * max(pixels.shape[:2])).reshape(pixels.shape)
    return float(np.mean(score(_transitions(blurred, pixels, importance, steps))))


def _transitions(before: Pixels, after: Pixels, importance: Map, steps: int) -> Pixels:
    """Return images (steps + 1, …) that change from one to another, the most important pixels first."""
    order = np.argsort(-importance, axis=None, kind="stable")
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    done = np.linspace(0, order.size, steps + 1).round()
    is_changed = rank.reshape(importance.shape) < done[:, None, None]
    return np.where(is_changed[..., None], after, before)
