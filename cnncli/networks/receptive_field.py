"""Windows of the layers of a network, and the receptive fields that they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cnncli.catalogue.windows import Pair, Window, pair, same_padding

Shape = tuple[int, ...]
"""Shape of a tensor without the batch."""


@dataclass(frozen=True)
class Field:
    """Receptive field of the first value of a tensor, pixels between neighbors, and size of the map, by axis.

    If the field of each value is not known, it is one that contains those of all values.
    """

    start: Pair
    size: Pair
    jump: Pair
    grid: Pair
    is_known: bool = True

    def of_all(self) -> Field:
        """Return the field of an output that depends on all values."""
        height, width = (size + (n - 1) * jump for size, n, jump in zip(self.size, self.grid, self.jump, strict=True))
        return Field(self.start, (height, width), (0, 0), (1, 1))


def window_of(operation: Any, shape: Shape) -> Window | None:
    """Return the window of a convolution or pooling of maps, with its own padding."""
    if len(shape) != 3 or getattr(operation, "data_format", None) == "channels_first":  # LRN pools over channels
        return None
    if type(operation).__name__.startswith("Global") and type(operation).__name__.endswith("Pooling2D"):
        return Window((shape[0], shape[1]))
    size = getattr(operation, "kernel_size", None) or getattr(operation, "pool_size", None)
    if size is None or getattr(operation, "strides", 1) == ():
        return None
    size = pair(size)
    stride, dilation = pair(operation.strides or size), pair(getattr(operation, "dilation_rate", 1))
    window = Window(size, stride, dilation=dilation)
    if str(operation.padding).lower() != "same":
        return window
    rows, columns = map(same_padding, shape[:2], window.extent, stride)
    return replace(window, padding=(rows, columns))


def padding_of(operation: Any) -> tuple[Pair, Pair] | None:
    """Return rows above and below, and columns before and after, that a padding layer adds to maps; None for others."""
    name = type(operation).__name__
    if name == "ZeroPadding2D" and operation.data_format == "channels_last":
        rows, columns = operation.padding
    elif name == "Pad" and len(operation.pad_width) == 4:
        _, rows, columns, _ = operation.pad_width
    else:
        return None
    return pair(rows), pair(columns)


def merge_fields(fields: Sequence[Field]) -> Field:
    """Return the smallest field that contains those of merged branches.

    It is known if the known ones fill it, as after attention, which sees all pixels, in a sum with its input.
    """
    whole, known = _union(fields), [one for one in fields if one.is_known]
    is_known = bool(known) and (_union(known).start, _union(known).size) == (whole.start, whole.size)
    return replace(whole, is_known=is_known)


def _union(fields: Sequence[Field]) -> Field:
    starts, sizes, jumps, grids = [], [], [], []
    for axis in (0, 1):
        starts.append(min(one.start[axis] for one in fields))
        sizes.append(max(one.start[axis] + one.size[axis] for one in fields) - starts[-1])
        jumps.append(max(one.jump[axis] for one in fields))
        grids.append(max(one.grid[axis] for one in fields))
    start, size, jump, grid = ((height, width) for height, width in (starts, sizes, jumps, grids))
    return Field(start, size, jump, grid)


def field_of(operation: Any, before: Sequence[Field], window: Window | None, output: Shape) -> Field:
    """Return the receptive field of an operation's outputs."""
    name = type(operation).__name__
    grid = (output[0], output[1]) if len(output) == 3 else (1, 1)
    if not before:
        return Field((0, 0), (1, 1), (1, 1), grid)
    merged = merge_fields(before)
    if len(output) == 1 or "Attention" in name or name.startswith("Global"):
        return merged.of_all()
    if window is not None:
        sides = zip(merged.start, merged.size, merged.jump, window.extent, window.stride, window.padding, strict=True)
        axes = [
            (start - zeros[0] * jump, size + (extent - 1) * jump, jump * step)
            for start, size, jump, extent, step, zeros in sides
        ]
        starts, sizes, jumps = (pair(values) for values in zip(*axes, strict=True))
        return Field(starts, sizes, jumps, grid, merged.is_known)
    if _moves_pixels(operation, merged.grid, output) and merged.jump != (0, 0):
        return replace(merged.of_all(), is_known=False)
    top, left = _crop_of(operation)
    merged = replace(merged, start=(merged.start[0] + top * merged.jump[0], merged.start[1] + left * merged.jump[1]))
    return replace(merged, grid=grid) if len(output) == 3 else merged


def _moves_pixels(operation: Any, grid: Pair, output: Shape) -> bool:
    """Return whether values change their places in the map, as those of an image that is cut into patches."""
    name = type(operation).__name__
    if name == "Reshape":  # that of a channel shuffle keeps height and width
        return output[:2] != grid
    return name in ("Flip", "Transpose") or (name == "Permute" and tuple(operation.dims[:2]) != (1, 2))


def _crop_of(operation: Any) -> Pair:
    """Return rows above and columns before the maps that a layer removes; they are negative if it adds some."""
    if added := padding_of(operation):
        return -added[0][0], -added[1][0]
    if type(operation).__name__ == "Cropping2D" and operation.data_format == "channels_last":  # others crop channels
        (top, _), (left, _) = operation.cropping
        return top, left
    return 0, 0


def field_formula(before: Field, window: Window, after: Field) -> str:
    """Return the arithmetic of a receptive field: that of the inputs, and what the window adds."""
    texts = []
    for axis in (0, 1):
        step = window.dilation[axis]
        pixels = f"({window.size[axis]} − 1){f'·{step}' if step > 1 else ''}·{before.jump[axis]}"
        texts.append(f"{before.size[axis]} + {pixels} = {after.size[axis]}")
    return texts[0] if texts[0] == texts[1] else f"height {texts[0]}, width {texts[1]}"


def sum_padding(first: tuple[Pair, Pair], second: Any) -> tuple[Pair, Pair]:
    """Add the rows above and below, and the columns before and after, of two paddings."""
    (top, bottom), (left, right) = first
    (above, below), (before, after) = second
    return (top + above, bottom + below), (left + before, right + after)
