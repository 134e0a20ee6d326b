"""Convolution and pooling in NumPy, step by step, as a convolutional layer of Keras computes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PoolingKind = Literal["max", "average", "sum"]

IMAGE = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]])
KERNEL = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]])
"""An image and a kernel whose convolution is worked out in courses."""

TO_POOL = np.array([[12, 20, 30, 0], [8, 12, 2, 0], [34, 70, 37, 4], [112, 100, 25, 12]])
"""Values whose 2×2 pooling is worked out in courses."""


@dataclass(frozen=True)
class Worked:
    """A convolution or pooling of a small volume.

    Attributes:
        values: Input with its padding, (height, width, depth).
        output: Output, (height, width, filters).
        kernels: (filters, height, width, depth); None for pooling.
        biases: One per filter; None for pooling.
        size, stride, padding, dilation: Those of the square window.
        pooling: Kind of pooling; None for a convolution.
    """

    values: Array
    output: Array
    kernels: Array | None
    biases: Array | None
    size: int
    stride: int
    padding: int
    dilation: int
    pooling: PoolingKind | None = None

    def steps(self) -> Iterator[tuple[int, int, int]]:
        """Yield filter, row and column of the outputs in order."""
        height, width, filters = self.output.shape
        yield from ((k, row, column) for k in range(filters) for row in range(height) for column in range(width))

    def window(self, row: int, column: int) -> tuple[slice, slice]:
        """Return the rows and columns of the input below the window of an output."""
        extent = (self.size - 1) * self.dilation + 1
        top, left = row * self.stride, column * self.stride
        return slice(top, top + extent, self.dilation), slice(left, left + extent, self.dilation)

    def formula(self, k: int, row: int, column: int) -> str:
        """Return the arithmetic of an output: the sum of all products, or of each channel if there are several."""
        below, result = self.values[self.window(row, column)], _text(self.output[row, column, k]).strip("()")
        if self.kernels is None or self.biases is None:
            numbers = [_text(value) for value in below[..., k].ravel()]
            joined = " + ".join(numbers)
            return {
                "max": f"max({', '.join(numbers)}) = {result}",
                "sum": f"{joined} = {result}",
                "average": f"({joined})/{len(numbers)} = {result}",
            }[self.pooling or "max"]
        products = below * self.kernels[k]
        if below.shape[-1] == 1:
            pairs = zip(below.ravel(), self.kernels[k].ravel(), strict=True)
            terms = [f"{_text(value)}·{_text(weight)}" for value, weight in pairs]
        else:
            terms = [_text(value) for value in products.sum(axis=(0, 1))]
        bias = f" + {_text(self.biases[k])}" if self.biases.any() else ""
        return f"{' + '.join(terms)}{bias} = {result}"


def _text(value: float) -> str:
    text = f"{value:g}"
    return f"(−{text[1:]})" if text.startswith("-") else text


def convolve(
    values: Array, kernels: Array, biases: Array | None = None, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Worked:
    """Convolve (height, width, depth) with (filters, size, size, depth), as a layer of Keras does.

    Raises:
        ValueError: The window is larger than the padded values.
    """
    biases = np.zeros(len(kernels), values.dtype) if biases is None else biases
    padded = np.pad(values, ((padding, padding), (padding, padding), (0, 0)))
    windows = _windows(padded, kernels.shape[1], stride, dilation)
    output = np.einsum("hwdij,kijd->hwk", windows, kernels) + biases
    return Worked(padded, output, kernels, biases, kernels.shape[1], stride, padding, dilation)


def pool(values: Array, kind: PoolingKind, size: int = 2, stride: int = 2) -> Worked:
    """Pool (height, width, depth) with a square window.

    Raises:
        ValueError: The window is larger than the values.
    """
    windows = _windows(values, size, stride, 1)
    axes = (-1, -2)
    output = {"max": windows.max(axes), "average": windows.mean(axes), "sum": windows.sum(axes)}[kind]
    return Worked(values, output, None, None, size, stride, 0, 1, kind)


def _windows(values: Array, size: int, stride: int, dilation: int) -> Array:
    """Return the values below the window at each place, (rows, columns, depth, size, size)."""
    extent = (size - 1) * dilation + 1
    if extent > min(values.shape[:2]):
        raise ValueError(f"a window of {extent} pixels is larger than the {min(values.shape[:2])} pixels of the input")
    windows = np.lib.stride_tricks.sliding_window_view(values, (extent, extent), axis=(0, 1))
    return windows[::stride, ::stride, :, ::dilation, ::dilation]


def course_convolution() -> Worked:
    """Return the convolution of a 5×5 image with a 3×3 kernel whose results are 4 3 4, 2 4 3 and 2 3 4."""
    return convolve(IMAGE[..., None], KERNEL[None, ..., None])


def volume_convolution(
    size: int = 5, kernel: int = 3, stride: int = 2, padding: int = 1, dilation: int = 1, depth: int = 3,
    filters: int = 2, seed: int = 0,
) -> Worked:  # fmt: skip
    """Return a convolution of a random volume, by default with the sizes and ranges of CS231n's moving demo.

    Values are 0–2, weights −1–1, and the biases 1, 0, −1 …, as in cs231n.github.io/convolutional-networks.
    """
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 3, (size, size, depth))
    kernels = rng.integers(-1, 2, (filters, kernel, kernel, depth))
    return convolve(values, kernels, 1 - np.arange(filters), stride=stride, padding=padding, dilation=dilation)


def course_pooling(kind: PoolingKind = "max") -> Worked:
    """Return the 2×2 pooling of a 4×4 image, whose maxima are 20 30 and 112 37."""
    return pool(TO_POOL[..., None], kind)
