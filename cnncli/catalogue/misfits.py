"""Find the blocks of a ConvNet that do not fit the feature maps below it. Does not import TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from cnncli.catalogue.blocks import Block, Margin, Sides, blocks_of, repeated
from cnncli.catalogue.windows import Pair, Window, pair, same_padding

Part = Literal["kernel_size", "pooling.size"]


@dataclass(frozen=True)
class Misfit:
    """A setting of a ConvNet with which Keras could not compute a block.

    Attributes:
        code: Code of the error.
        key: The setting, below the network's options.
        received: The value of that setting.
        what: Description of the problem, to follow the key.
        expected: Description of remedies, to follow `expected`.
    """

    code: str
    key: str
    received: int | str | Pair
    what: str
    expected: str


@dataclass(frozen=True)
class Maps:
    """Height, width and channels of feature maps."""

    sides: Pair
    channels: int

    def __str__(self) -> str:
        return f"{self.sides[0]} × {self.sides[1]} × {self.channels}"


def find_misfit(options: Mapping[str, Any], height: int, width: int, channels: int) -> Misfit | None:
    """Return the first of `find_misfits`, or None."""
    return next(find_misfits(options, height, width, channels), None)


def find_misfits(options: Mapping[str, Any], height: int, width: int, channels: int) -> Iterator[Misfit]:
    """Yield the settings of a ConvNet that do not fit the size or the channels of their input.

    A kernel or window that is too large is the last, because it leaves no feature maps.

    Args:
        options: All options with their defaults.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        channels: Channels of the images.
    """
    maps, is_list, found = Maps((height, width), channels), options["blocks"] is not None, set[str]()
    for number, (item, block) in enumerate(repeated(blocks_of(options)), start=1):
        for misfit in _misfits(block, maps, "" if is_list else f" in block {number}", is_first=number == 1):
            key = f"blocks.{item}.{misfit.key}" if is_list else misfit.key.replace("pooling.size", "pool_size")
            if key not in found:  # a repetition of a block can have the same problem
                found.add(key)
                yield replace(misfit, key=key)
        maps = _pooled(block, _convolved(block, maps))
        if min(maps.sides) < 1:
            return


def _misfits(block: Block, maps: Maps, owner: str, is_first: bool) -> Iterator[Misfit]:
    """Yield what does not fit in a block above feature maps, in the order of its layers."""
    yield from _misfits_of_channels(block, maps.channels)
    convolved = _convolved(block, maps)
    if min(convolved.sides) < 1:
        yield _too_large(block, "kernel_size", maps, owner, is_first)
        return  # the sizes of what follows are not known
    yield from _misfits_of_shortcut(block, maps, convolved)
    if block.pooling is not None and block.pooling.kind == "maxout":
        yield from _indivisible("pooling.size", pair(block.pooling.size)[0], convolved.channels)
    elif min(_pooled(block, convolved).sides) < 1:
        yield _too_large(block, "pooling.size", convolved, owner, is_first and block.filters is None)


def _misfits_of_channels(block: Block, channels: int) -> Iterator[Misfit]:
    if block.filters is None:
        return
    if block.kind == "depthwise" and block.filters % channels:
        what = f"not a multiple of the {channels} channels below it, as depthwise convolutions need"
        yield Misfit("config-block-impossible", "filters", block.filters, what, f"a multiple of {channels}")
    elif block.kind == "convolution":
        yield from _indivisible("groups", block.groups, channels)


def _indivisible(key: str, by: int, channels: int) -> Iterator[Misfit]:
    if channels % by:
        what = f"does not divide the {channels} channels below it into equal parts"
        yield Misfit("config-block-impossible", key, by, what, f"a divisor of {channels}")


def _misfits_of_shortcut(block: Block, maps: Maps, convolved: Maps) -> Iterator[Misfit]:
    """Yield a shortcut whose shape is not that of the output of the convolutions, to which it is added."""
    if block.shortcut == "none":
        return
    projected = Maps(Window((1, 1), pair(block.strides)).outputs(maps.sides), convolved.channels)
    added = projected if block.shortcut == "projection" else maps
    if added != convolved:
        remedies = ["shortcut: projection"] if added != projected else []
        remedies += ["padding: same"] if projected != convolved else []
        what = f"adds maps of {added} to maps of {convolved}"
        expected = f"equal shapes, as with {' and '.join(remedies)}"
        yield Misfit("config-block-impossible", "shortcut", block.shortcut, what, expected)


def _convolved(block: Block, maps: Maps) -> Maps:
    """Return the feature maps after the convolutions of a block; the sides are below 1 if a kernel does not fit."""
    if block.filters is None:
        return maps
    first = _window(maps.sides, block.kernel_size, block.strides, block.padding, block.dilation).outputs(maps.sides)
    if min(first) < 1:
        return Maps(first, block.filters)
    # All further convolutions have stride 1; each changes the size by the same number of pixels.
    second = _window(first, block.kernel_size, 1, block.padding, block.dilation).outputs(first)
    n_more = block.convolutions - 1
    return Maps((first[0] + n_more * (second[0] - first[0]), first[1] + n_more * (second[1] - first[1])), block.filters)


def _pooled(block: Block, maps: Maps) -> Maps:
    """Return the feature maps after the pooling of a block; the sides are below 1 if a window does not fit."""
    pooling = block.pooling
    if pooling is None:
        return maps
    if pooling.kind == "maxout":
        return Maps(maps.sides, maps.channels // pair(pooling.size)[0])
    strides = pooling.size if pooling.strides is None else pooling.strides
    return Maps(_window(maps.sides, pooling.size, strides, pooling.padding).outputs(maps.sides), maps.channels)


def _window(sides: Pair, size: Sides, strides: Sides, padding: Margin, dilation: int = 1) -> Window:
    """Return the window of settings of a block on maps of some height and width."""
    window = Window(pair(size), pair(strides), dilation=(dilation, dilation))
    if padding == "valid":
        return window
    if padding == "same":
        rows, columns = map(same_padding, sides, window.extent, window.stride)
    else:
        rows, columns = ((margin, margin) for margin in pair(padding))
    return replace(window, padding=(rows, columns))


def _too_large(block: Block, part: Part, maps: Maps, owner: str, is_first: bool) -> Misfit:
    """Describe the kernel or window of a block that is larger than its input."""
    pooling, is_kernel = block.pooling, part == "kernel_size"
    size = block.kernel_size if is_kernel or pooling is None else pooling.size
    dilation = block.dilation if is_kernel else 1
    height, width = _window(maps.sides, size, 1, "valid", dilation).extent
    kind = "kernel" if is_kernel else "window"
    what = f"the {kind} of {height} × {width} pixels{owner}"
    if dilation > 1:
        what += f", with dilation {dilation},"
    if is_kernel and block.convolutions > 1:
        what += f", {block.convolutions} times in succession,"
    where = "the images" if is_first else "the feature maps"
    remedies = ["a larger data.image_size", f"a smaller {kind}"]
    remedies += [] if is_first else ["fewer blocks"]
    remedies += ["padding: same"] if is_kernel or not owner else []
    expected = f"{', '.join(remedies[:-1])} or {remedies[-1]}"
    text = f"{what} is larger than {where} of {maps.sides[0]} × {maps.sides[1]}"
    return Misfit("config-image-size-too-small", part, size, text, expected)
