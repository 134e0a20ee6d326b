"""Convert any color mode to 8-bit RGB or grayscale without alpha, or to RGBA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

from cnncli.images.limits import LARGE_PIXELS

WHITE = 255
_MIN_SAMPLE, _MAX_SAMPLE = 280, 281  # TIFF tags

STRIP_PIXELS = 4_000_000
"""Number of pixels of a large image that are converted at a time, in rows: compositing on white needs four copies."""


def flat_color(
    image: Image.Image, color: Literal["rgb", "grayscale", "rgba"], value_range: tuple[float, float] | None = None
) -> Image.Image:
    """Convert a loaded image to mode RGB, L or RGBA.

    Except in RGBA, alpha, including that of palettes and color keys, is composited onto white. 16-bit values lose their
    low byte, as in Pillow's 16-bit RGB; 8-bit values that were multiplied by 256 or 257 are restored exactly. CMYK and
    YCbCr are converted by Pillow's formulas. `value_range` is that of `PixelSpec`.
    """
    mode = {"rgb": "RGB", "grayscale": "L", "rgba": "RGBA"}[color]
    tags = getattr(image, "tag_v2", {})
    if image.width * image.height <= LARGE_PIXELS or (image.mode == mode and not image.has_transparency_data):
        return _flatten(image, mode, tags, value_range)
    flat = Image.new(mode, image.size)
    height = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, height):
        box = (0, top, image.width, min(top + height, image.height))
        flat.paste(_flatten(image.crop(box), mode, tags, value_range), box)
    return flat


def _flatten(
    image: Image.Image, mode: str, tags: Mapping[int, Any], value_range: tuple[float, float] | None
) -> Image.Image:
    if image.mode.startswith("I;16"):
        flat = _from_16_bits(image, tags, value_range)
    elif image.has_transparency_data:
        flat = _on_white(image) if mode != "RGBA" else _with_alpha(image)
    else:
        flat = _to_mode(image, "L" if image.mode in ("1", "L") else "RGB")
    return _to_mode(flat, mode)


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert to a mode, unless the image has it already; Pillow's copy takes a quarter of the decoding time."""
    return image if image.mode == mode else image.convert(mode)


def _with_alpha(image: Image.Image) -> Image.Image:
    return _to_mode(image.convert("LA") if image.mode == "La" else image, "RGBA")


def _on_white(image: Image.Image) -> Image.Image:
    straight = _with_alpha(image)
    white = Image.new("RGB", image.size, "white")
    white.paste(straight.convert("RGB"), mask=straight.getchannel("A"))
    return white


def _from_16_bits(image: Image.Image, tags: Mapping[int, Any], value_range: tuple[float, float] | None) -> Image.Image:
    """Convert 16-bit grayscale, or 12-bit in some TIFFs, for which Pillow does not apply inverted photometry."""
    values = np.asarray(image)
    bits = tags.get(BITSPERSAMPLE, (image.info.get("bits", 16),))[0]
    low, high = value_range or _stated_range(tags, bits)
    if (low, high) == (0, 2**bits - 1):
        gray = (values >> (bits - 8)).astype(np.uint8)
    else:
        scaled = (values.astype(np.float64) - low) * (WHITE / (high - low))
        gray = np.rint(np.clip(scaled, 0, WHITE)).astype(np.uint8)
    if tags.get(PHOTOMETRIC_INTERPRETATION) == 0:
        gray = WHITE - gray
    if "transparency" in image.info:
        gray = np.where(values == image.info["transparency"], np.uint8(WHITE), gray)
    return Image.fromarray(gray)


def _stated_range(tags: Mapping[int, Any], bits: int) -> tuple[int, int]:
    """Return the value range that a TIFF states for its samples, or the full range of its bits."""
    full = 2**bits - 1
    low, high = (int(np.ravel(tags.get(tag, default))[0]) for tag, default in ((_MIN_SAMPLE, 0), (_MAX_SAMPLE, full)))
    return (low, high) if 0 <= low < high <= full else (0, full)
