"""Random rectangles in an image, by area and aspect ratio: for random crops and random erasing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnncli.augmentation.operation import Limits

if TYPE_CHECKING:
    import numpy as np

ATTEMPTS = 10
"""As in torchvision: a long rectangle with a large area does not fit, and another one is drawn."""


@dataclass(frozen=True)
class Rect:
    """Rectangle in fractions of the width and height of the image; the default is the whole image."""

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0


WHOLE = Rect()


def draw_rect(random: np.random.Generator, scale: Limits, ratio: Limits) -> Rect | None:
    """Draw a rectangle anywhere in the image.

    Args:
        random: Source of the numbers; always the same count is drawn, however many attempts it takes.
        scale: Lowest and highest fraction of the area; uniform between them.
        ratio: Lowest and highest ratio of width to height relative to the image; uniform in the logarithm.

    Returns:
        The rectangle, or None if no attempt fits into the image.
    """
    import numpy as np

    units = random.random((ATTEMPTS + 1, 2))
    areas = scale[0] + (scale[1] - scale[0]) * units[1:, 0]
    ratios = ratio[0] * (ratio[1] / ratio[0]) ** units[1:, 1]
    widths, heights = np.sqrt(areas * ratios), np.sqrt(areas / ratios)
    (fitting,) = np.nonzero((widths <= 1.0) & (heights <= 1.0))
    if not len(fitting):
        return None
    width, height = float(widths[fitting[0]]), float(heights[fitting[0]])
    return Rect(float(units[0, 0]) * (1.0 - width), float(units[0, 1]) * (1.0 - height), width, height)


def largest_rect(ratio: Limits) -> Rect:
    """Return the largest centered rectangle with an allowed aspect ratio."""
    shape = min(max(1.0, ratio[0]), ratio[1])
    width, height = min(1.0, shape), min(1.0, 1.0 / shape)
    return Rect((1.0 - width) / 2, (1.0 - height) / 2, width, height)
