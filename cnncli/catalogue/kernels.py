"""Kernels of image processing, 3×3, as plain data: the table of courses on convolution."""

from __future__ import annotations

from collections.abc import Mapping

Kernel = tuple[tuple[float, ...], ...]


def _divided(rows: Kernel, divisor: float) -> Kernel:
    return tuple(tuple(value / divisor for value in row) for row in rows)


KERNELS: Mapping[str, Kernel] = {
    "identity": ((0, 0, 0), (0, 1, 0), (0, 0, 0)),
    "edges 1": ((1, 0, -1), (0, 0, 0), (-1, 0, 1)),
    "edges 2": ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
    "edges 3": ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)),
    "Sobel, horizontal lines": ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    "Sobel, vertical lines": ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "sharpen": ((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
    "box blur": _divided(((1, 1, 1), (1, 1, 1), (1, 1, 1)), 9),
    "Gaussian blur": _divided(((1, 2, 1), (2, 4, 2), (1, 2, 1)), 16),
}
"""Kernels by name. They are applied as in networks, without mirroring."""

SIGNED = frozenset({"edges 1", "edges 2", "edges 3", "Sobel, horizontal lines", "Sobel, vertical lines"})
"""Kernels whose sum is 0; the strength of an edge is the absolute value of their result."""
