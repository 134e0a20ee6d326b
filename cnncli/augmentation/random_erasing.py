"""Random erasing: a rectangle painted over (Zhong et al. 2017, arXiv 1708.04896)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.random_rect import Part
from cnncli.runtime.random_keys import generator


@dataclass(frozen=True)
class Erasing:
    """What one rendering paints over.

    Attributes:
        part: where.
        value: gray value, or a random one for every value of every pixel.
        key: decides the random values.
    """

    part: Part
    value: int | Literal["random"]
    key: tuple[str | int, ...] = ()


def erase(pixels: NDArray[np.uint8], erasing: Erasing | None) -> NDArray[np.uint8]:
    """An image with a rectangle painted over.

    Args:
        pixels: uint8 (height, width, channels); it stays as it is.
        erasing: what to do; None returns `pixels` itself.
    Returns: uint8, same shape.
    """
    if erasing is None:
        return pixels
    erased, part = pixels.copy(), erasing.part
    rows, columns = _span(part.top, part.height, pixels.shape[0]), _span(part.left, part.width, pixels.shape[1])
    painted = erased[rows, columns]
    if erasing.value == "random":
        painted[...] = generator(*erasing.key).integers(0, 256, painted.shape, dtype=np.uint8)
    else:
        painted[...] = erasing.value
    return erased


def _span(start: float, length: float, pixels: int) -> slice:
    """Fractions as whole pixels, at least one of them."""
    first = min(round(start * pixels), pixels - 1)
    return slice(first, max(first + 1, round((start + length) * pixels)))
