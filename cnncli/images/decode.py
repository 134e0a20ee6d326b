"""The one decoder: an image's bytes become a uint8 array of the size the network asks for.

Training, evaluation and prediction call `decode` and nothing else, so that they see the same pixels. The order: header
and limits · JPEG scaled down while it is decoded, where that leaves at least twice the target · EXIF orientation ·
alpha on white, color · fit and antialiased bilinear resize.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageFile, features
from PIL.JpegImagePlugin import JpegImageFile

from cnncli.images.color_modes import flat_color
from cnncli.images.exif_orientation import orientation_of
from cnncli.images.formats import opened, regular_file
from cnncli.images.limits import LARGE_PIXELS, BinaryFile

if TYPE_CHECKING:
    from cnncli.config.schema import DataConfig

DECODER_VERSION = 1
"""Part of every recipe's key: raised whenever this module would give other pixels for the same file."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class PixelRecipe:
    """What `decode` makes of an image.

    Attributes:
        height, width: pixels of the result.
        color: rgb (three channels) or grayscale (one).
        fit: stretch (both axes scaled to the size), crop (the largest centred part of the right proportions) or pad
            (the whole image in its own proportions, centred on black).
        max_pixels: larger images are refused; the pixels of the others do not depend on it.
    """

    height: int
    width: int
    color: Literal["rgb", "grayscale"] = "rgb"
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    max_pixels: int = 178_000_000

    @classmethod
    def from_config(cls, data: DataConfig, default_size: tuple[int, int]) -> PixelRecipe:
        """The recipe of a config; `default_size` is the backbone's own (height, width)."""
        size = data.image_size or default_size
        height, width = (size, size) if isinstance(size, int) else size
        return cls(height, width, data.color, data.fit, data.max_pixels)

    @property
    def channels(self) -> int:
        """3 or 1."""
        return 3 if self.color == "rgb" else 1

    def key(self) -> dict[str, str | int]:
        """Everything the pixels depend on beside the file, decoders' versions included."""
        return {
            "decoder": DECODER_VERSION,
            "height": self.height,
            "width": self.width,
            "color": self.color,
            "fit": self.fit,
            "pillow": PIL.__version__,
            "libjpeg": features.version("jpg") or "unknown",
        }


def decode(source: Path | bytes, recipe: PixelRecipe, name: str | None = None) -> NDArray[np.uint8]:
    """An image's pixels, uint8 in 0-255, shape (recipe.height, recipe.width, recipe.channels).

    Args:
        source: a file, or a file's bytes.
        recipe: the size, colors and fit.
        name: what the error calls it; default: the path, or `-` for bytes.
    Raises: ImageError: not a regular file, unreadable, truncated, zero-sized, too large, of no known format.
    """
    called = name or ("-" if isinstance(source, bytes) else source)
    with _file(source) as file, opened(file, called, recipe.max_pixels) as image:
        return _rendered(image, recipe)


@contextmanager
def _file(source: Path | bytes) -> Iterator[BinaryFile]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    else:
        with regular_file(source) as file:
            yield file


def _rendered(image: ImageFile.ImageFile, recipe: PixelRecipe) -> NDArray[np.uint8]:
    width, height = _load(image, recipe)
    orientation, size = orientation_of(image), image.size
    flat = flat_color(image, recipe.color)
    if flat is not image:
        image.close()  # a large one is not to be held together with both its copies
    fitted = _fitted(orientation.turned(flat), orientation.box(width, height, size), recipe)
    return np.array(fitted, dtype=np.uint8).reshape(recipe.height, recipe.width, recipe.channels)


def _load(image: ImageFile.ImageFile, recipe: PixelRecipe) -> tuple[float, float]:
    """Decode the pixels, a JPEG in 1/2, 1/4 or 1/8 where at least twice the target remains on both axes.

    Returns: (width, height) of the part of the pixels that is the image: where a JPEG's size is no multiple of the
    factor, the last column and row reach beyond its edge by a fraction.
    """
    drafted = None
    if isinstance(image, JpegImageFile):
        least = (2 * recipe.width, 2 * recipe.height)
        drafted = image.draft(None, least[::-1] if orientation_of(image).swaps_axes else least)
    image.load()
    return drafted[1][2:] if drafted else image.size


def _fitted(image: Image.Image, box: Box, recipe: PixelRecipe) -> Image.Image:
    """The part of an image inside a box, resized to the recipe's size in the way of its `fit`."""
    size = (recipe.width, recipe.height)
    if recipe.fit == "stretch":
        return _resized(image, size, box)
    left, top, right, bottom = box
    across, down = recipe.width / (right - left), recipe.height / (bottom - top)
    if recipe.fit == "crop":
        # Half of what sticks out of the target on each side, in pixels of the image. Rounding must not make it less
        # than nothing: Pillow refuses a box that begins outside of the image.
        spare_x = max(0.0, ((right - left) - recipe.width / max(across, down)) / 2)
        spare_y = max(0.0, ((bottom - top) - recipe.height / max(across, down)) / 2)
        part = (left + spare_x, top + spare_y, right - spare_x, bottom - spare_y)
        return _resized(image, size, part)
    scale = min(across, down)
    inner = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    padded = Image.new(image.mode, size)
    padded.paste(
        _resized(image, inner, box),
        (round((size[0] - inner[0]) / 2), round((size[1] - inner[1]) / 2)),
    )
    return padded


def _resized(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    if size[0] > image.width and size[0] * image.height > LARGE_PIXELS:
        # Pillow goes across first, which would make of a line of pixels ten million high an image ten million high.
        left, top, right, bottom = box
        image = image.resize((image.width, size[1]), Image.Resampling.BILINEAR, (0, top, image.width, bottom))
        box = (left, 0, right, size[1])
    return image.resize(size, Image.Resampling.BILINEAR, box)
