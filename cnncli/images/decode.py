"""The decoder, which converts a file to a uint8 array of the network's input size.

Training, evaluation and prediction all call `decode`, so they use the same pixels. A JPEG is scaled while it is decoded
if at least twice the target size remains. Color profiles (ICC) are ignored, as in Keras and torchvision, whose
pretrained networks were trained that way.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features
from PIL.JpegImagePlugin import JpegImageFile

from cnncli.errors import ImageError, Message
from cnncli.images.color_modes import flat_color
from cnncli.images.dicom import DicomImageFile
from cnncli.images.exif_orientation import orientation_of
from cnncli.images.formats import image_errors, open_image, regular_file, require_usable
from cnncli.images.limits import LARGE_PIXELS, MAX_PIXELS
from cnncli.images.readers import load_scaled

DECODER_VERSION = 2
"""Part of every key; increased whenever this module returns different pixels for the same file."""

Box = tuple[float, float, float, float]

Color = Literal["rgb", "grayscale", "rgba", "bands"]
ImageSource = Path | bytes | Image.Image | NDArray[Any]
"""An image file, its content, or decoded pixels."""


@dataclass(frozen=True)
class PixelSpec:
    """Size, colors and fit of decoded pixels.

    Attributes:
        height, width: Size of the result in pixels.
        color: rgb (three channels), grayscale (one), rgba (four, alpha as it is) or bands.
        fit: stretch (scale both axes to the size), crop (the largest centered part with the target's aspect ratio) or
            pad (the whole image with its aspect ratio, centered on black).
        max_pixels: Larger images are refused; the pixels of others do not depend on it.
        value_range: Values of 16-bit grayscale images, or of bands, that become black and white; None: the range stated
            in the file, else that of the data type, for floating-point numbers 0-1.
        bands: Number of channels for color bands; None for all others.
        window: Center and width of the values of DICOM images that become gray; None: those in the file.
    """

    height: int
    width: int
    color: Color = "rgb"
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    max_pixels: int = MAX_PIXELS
    value_range: tuple[float, float] | None = None
    bands: int | None = None
    window: tuple[float, float] | None = None

    @property
    def channels(self) -> int:
        """Number of values of a pixel."""
        return {"rgb": 3, "grayscale": 1, "rgba": 4, "bands": self.bands or 1}[self.color]

    def key(self) -> dict[str, str | int]:
        """Everything besides the file that determines the pixels, including decoder versions."""
        key: dict[str, str | int] = {
            "decoder": DECODER_VERSION,
            "height": self.height,
            "width": self.width,
            "color": self.color,
            "fit": self.fit,
            "pillow": PIL.__version__,
            "libjpeg": features.version("jpg") or "unknown",
        }
        if self.value_range is not None:
            key["value_range"] = "-".join(map(str, self.value_range))
        if self.bands is not None:
            key["bands"] = self.bands
        if self.window is not None:
            key["window"] = "-".join(map(str, self.window))
        return key


def decode(source: ImageSource, spec: PixelSpec, name: str | None = None) -> NDArray[np.uint8]:
    """Decode an image.

    Args:
        source: A file, its content, a Pillow image, or an array: uint8 of shape (height, width) or (height, width, 3),
            RGB; for color rgba also (height, width, 4); for bands (height, width, bands) of the types of files.
        spec: Size, colors and fit.
        name: Name of the image in errors; default: the path, or `-` for other sources.

    Returns:
        uint8 array in 0-255 of shape (spec.height, spec.width, spec.channels).

    Raises:
        ImageError: The image cannot be used; `error.code` gives the reason.
    """
    label = name or (source if isinstance(source, Path) else "-")
    if spec.bands is not None:
        return _pixels_of_bands(_bands_of(source, spec, label), spec)
    if isinstance(source, np.ndarray):
        source = _image_of(source, label, (3, 4) if spec.color == "rgba" else (3,))
    if isinstance(source, Image.Image):
        with image_errors(label):
            require_usable(source, label, spec.max_pixels)
            return _pixels_of(source, spec)
    opened = io.BytesIO(source) if isinstance(source, bytes) else regular_file(source)
    with opened as file, open_image(file, label, spec.max_pixels) as image:
        return _pixels_of(image, spec, close=True)


def file_content(image: Image.Image) -> bytes | None:
    """Return the content of the file of a Pillow image whose pixels are not loaded, or None if they are.

    Decoding the content gives the same pixels as decoding the file; a JPEG, for example, is scaled while it is decoded.
    """
    file = getattr(image, "fp", None)
    if file is None or not getattr(image, "tile", None) or image.tell() != 0:
        return None
    position = file.tell()
    file.seek(0)
    content: bytes = file.read()
    file.seek(position)
    return content


def _image_of(array: NDArray[Any], name: str | Path, channels: tuple[int, ...]) -> Image.Image:
    """Convert an array to an image; raise ImageError for a wrong dtype or shape."""
    if (
        array.dtype == np.uint8
        and array.size
        and (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in channels))
    ):
        return Image.fromarray(array)
    received, expected = f"{array.dtype} {array.shape}", "uint8 (0-255) of shape (height, width, 3) or (height, width)"
    text = f"is an array of {received}, expected {expected}; pass several images as a list"
    raise ImageError(name, Message("image-array", text, received=received, expected=expected))


def _bands_of(source: ImageSource, spec: PixelSpec, name: str | Path) -> NDArray[Any]:
    from cnncli.images.bands import bands_of_array, read_bands

    bands = spec.bands or 1
    if isinstance(source, Image.Image):
        source = np.asarray(source)
    if isinstance(source, np.ndarray):
        return bands_of_array(source, name, bands, spec.max_pixels)
    with io.BytesIO(source) if isinstance(source, bytes) else regular_file(source) as file:
        return read_bands(file, name, bands, spec.max_pixels)[1]


def _pixels_of_bands(values: NDArray[Any], spec: PixelSpec) -> NDArray[np.uint8]:
    """Scale the values of each band to 0–255, fit it, and round."""
    from cnncli.images.bands import to_levels

    height, width, bands = values.shape
    pixels = np.empty((spec.height, spec.width, bands), np.uint8)
    for band in range(bands):
        levels = Image.fromarray(to_levels(values[..., band], spec.value_range))
        fitted = np.asarray(_fit(levels, (0, 0, width, height), spec))
        pixels[..., band] = np.rint(fitted).clip(0, 255)
    return pixels


def _pixels_of(image: Image.Image, spec: PixelSpec, close: bool = False) -> NDArray[np.uint8]:
    if isinstance(image, DicomImageFile):
        image.window = spec.window
    least = (2 * spec.width, 2 * spec.height)
    if isinstance(image, JpegImageFile) and orientation_of(image).swaps_axes:
        least = least[::-1]
    width, height = load_scaled(image, least)
    orientation, size = orientation_of(image), image.size
    flat = flat_color(image, "rgb" if spec.color == "bands" else spec.color, spec.value_range)
    if close and flat is not image:
        image.close()  # frees a large image before its copies are made
    fitted = _fit(orientation.apply(flat), orientation.box(width, height, size), spec)
    return np.array(fitted, dtype=np.uint8).reshape(spec.height, spec.width, spec.channels)


def _fit(image: Image.Image, box: Box, spec: PixelSpec) -> Image.Image:
    """Return the part of an image inside a box, resized to the size of `spec` according to its `fit`."""
    size = (spec.width, spec.height)
    if spec.fit == "stretch":
        return _resize(image, size, box)
    left, top, right, bottom = box
    across, down = spec.width / (right - left), spec.height / (bottom - top)
    if spec.fit == "crop":
        # Half of the margin to cut off on each side, in pixels of the image. Rounding must not make it negative: Pillow
        # refuses a box that begins outside of the image.
        spare_x = max(0.0, ((right - left) - spec.width / max(across, down)) / 2)
        spare_y = max(0.0, ((bottom - top) - spec.height / max(across, down)) / 2)
        part = (left + spare_x, top + spare_y, right - spare_x, bottom - spare_y)
        return _resize(image, size, part)
    scale = min(across, down)
    width, height = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    padded = Image.new(image.mode, size)
    margins = (round((spec.width - width) / 2), round((spec.height - height) / 2))
    padded.paste(_resize(image, (width, height), box), margins)
    return padded


def _resize(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    if size[0] > image.width and size[0] * image.height > LARGE_PIXELS:
        # Pillow resizes horizontally first, which would widen a column of ten million pixels to an image as tall.
        left, top, right, bottom = box
        image = image.resize((image.width, size[1]), Image.Resampling.BILINEAR, (0, top, image.width, bottom))
        box = (left, 0, right, size[1])
    return image.resize(size, Image.Resampling.BILINEAR, box)
