"""Thumbnails of 288 bytes that identify an image after resizing, recompression or brightening."""

from __future__ import annotations

from PIL import Image

from cnncli.images.color_modes import flat_color
from cnncli.images.exif_orientation import Orientation

THUMBNAIL_VERSION = 1
"""Increased whenever this module returns different bytes for the same file; stored facts depend on it."""
GRAY_SIDE, COLOR_SIDE = 16, 4
"""Brightness has more pixels than the color differences, because it distinguishes images best."""
THUMBNAIL_BYTES = GRAY_SIDE**2 + 2 * COLOR_SIDE**2
LEAST_PX = 2 * GRAY_SIDE
"""Minimum width and height to which a JPEG may be scaled while it is decoded."""

_COARSE_PX = 16 * GRAY_SIDE
# Modes whose values can be averaged. Others hold indexes, single bits, 16 bits, or values weighted by alpha.
_AVERAGED = ("L", "La", "RGB", "RGBa", "RGBX", "CMYK", "YCbCr")


def thumbnail_of(image: Image.Image, size: tuple[float, float], orientation: Orientation) -> bytes:
    """Return brightness (16 × 16 values in 0-255) and the color differences Cb and Cr (4 × 4 each) as 288 bytes.

    `size` is the (width, height) of the pixels that belong to the image; see `load_scaled`.
    """
    small = orientation.apply(flat_color(_shrink(image, size), "rgb")).convert("YCbCr")
    gray, *colors = small.split()
    coarse = (COLOR_SIDE, COLOR_SIDE)
    return gray.tobytes() + b"".join(one.resize(coarse, Image.Resampling.BOX).tobytes() for one in colors)


def _shrink(image: Image.Image, size: tuple[float, float]) -> Image.Image:
    """Return the image in 16 × 16 pixels, at a fraction of the time and memory of decoding."""
    small, bilinear = (GRAY_SIDE, GRAY_SIDE), Image.Resampling.BILINEAR
    if image.mode in _AVERAGED and "transparency" not in image.info:
        return image.resize(small, bilinear, (0, 0, *size), reducing_gap=3.0)
    if image.mode.startswith("I;16"):  # how many bits are used depends on the tags
        return flat_color(image, "grayscale").resize(small, bilinear)
    # 256 pixels per remaining pixel suffice; converting all would take several times the image's memory.
    width, height = (min(side, _COARSE_PX) for side in image.size)
    return flat_color(image.resize((width, height), Image.Resampling.NEAREST), "rgb").resize(small, bilinear)
