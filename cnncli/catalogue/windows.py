"""Windows of convolutions and pooling: the pixels that they span, and the outputs that they give."""

from __future__ import annotations

import math
from dataclasses import dataclass

Pair = tuple[int, int]
"""A number for height and one for width."""


@dataclass(frozen=True)
class Window:
    """A kernel or a pooling window: size, stride, zeros before and after, and dilation, by height and width."""

    size: Pair
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)

    @property
    def extent(self) -> Pair:
        """Pixels that the window spans with its dilation."""
        height, width = ((size - 1) * step + 1 for size, step in zip(self.size, self.dilation, strict=True))
        return height, width

    def outputs(self, sides: Pair) -> Pair:
        """Return height and width of the outputs for maps of a height and width; below 1 if it does not fit."""
        axes = zip(sides, self.extent, self.stride, self.padding, strict=True)
        height, width = ((side + sum(zeros) - extent) // stride + 1 for side, extent, stride, zeros in axes)
        return height, width


def pair(value: int | Pair) -> Pair:
    """Return (vertical, horizontal) of one number or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def same_padding(n: int, extent: int, stride: int) -> Pair:
    """Return the zeros before and after n pixels with which `same` keeps ceil(n / stride) outputs, as in TensorFlow."""
    total = max((math.ceil(n / stride) - 1) * stride + extent - n, 0)
    return total // 2, total - total // 2
