"""Rectangles of an image by share of its area and by shape: what a random crop keeps and what erasing paints over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Limits = tuple[float, float]

ATTEMPTS = 10
"""As in torchvision: a long rectangle of a large area does not fit, and another is drawn."""


@dataclass(frozen=True)
class Part:
    """A rectangle, in fractions of the image's width and height; the default is the whole image."""

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0


WHOLE = Part()


def draw_part(random: np.random.Generator, scale: Limits, ratio: Limits) -> Part | None:
    """A rectangle anywhere in the image.

    Args:
        random: gives the same numbers, however many attempts it takes.
        scale: lowest and highest share of the area; uniform between them.
        ratio: lowest and highest width to height, relative to the image's; uniform in the logarithm.

    Returns:
        None where none of the attempts fits into the image.
    """
    units = random.random((ATTEMPTS + 1, 2))
    areas = scale[0] + (scale[1] - scale[0]) * units[1:, 0]
    ratios = ratio[0] * (ratio[1] / ratio[0]) ** units[1:, 1]
    widths, heights = np.sqrt(areas * ratios), np.sqrt(areas / ratios)
    (fitting,) = np.nonzero((widths <= 1.0) & (heights <= 1.0))
    if not len(fitting):
        return None
    width, height = float(widths[fitting[0]]), float(heights[fitting[0]])
    return Part(float(units[0, 0]) * (1.0 - width), float(units[0, 1]) * (1.0 - height), width, height)


def largest_part(ratio: Limits) -> Part:
    """The largest rectangle of an allowed shape, in the middle: what a crop keeps where nothing that was drawn fits."""
    shape = min(max(1.0, ratio[0]), ratio[1])
    width, height = min(1.0, shape), min(1.0, 1.0 / shape)
    return Part((1.0 - width) / 2, (1.0 - height) / 2, width, height)
