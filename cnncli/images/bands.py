"""Images of any number of bands: `.npy` arrays, TIFFs with several bands or pages, and ordinary images.

Arrays are read without pickle, and neither a header nor a page may declare more than the file holds. tifffile is used
because Pillow reads at most four bands. Values are scaled band by band, so that memory is needed for the values of the
file and one band as floating-point numbers.
"""

from __future__ import annotations

import io
import logging
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnncli.errors import ImageError, Message
from cnncli.images.exif_orientation import orientation_of
from cnncli.images.formats import (
    ARRAY_SIGNATURE,
    SIGNATURE_BYTES,
    format_of,
    image_errors,
    open_image,
    require_acceptable_size,
    require_usable,
)
from cnncli.images.limits import MOST_EXPANDED, BinaryFile, too_costly, too_large, unpacked_bytes
from cnncli.images.readers import read_header
from cnncli.runtime.threads import HEADER_LOCK
from cnncli.runtime.warnings import IgnoredWarnings

MAX_HEADER_BYTES = 10_000
MAX_BANDS = 512
CHUNK_VALUES = 2**22
"""Number of values that are scaled at a time."""
PREVIEW_PX = 128
TILE_BYTES = 2**24
"""Bytes by which a tile may be larger than the image."""
_DEFLATE = {8, 32946}
_PACKBITS = 32773
_COMPRESSIONS = {1, _PACKBITS, *_DEFLATE}
"""None, PackBits and deflate, in TIFF's numbers; tifffile reads others only with a further package."""
_RANGES = {"u1": (0, 255), "u2": (0, 65_535), "i2": (0, 32_767), "f2": (0, 1), "f4": (0, 1), "f8": (0, 1)}
"""Values that become black and white by default, by data type."""

Bands = NDArray[Any]

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # otherwise its messages about damage go to stderr


def read_bands(file: BinaryFile, name: str | Path, bands: int, max_pixels: int) -> tuple[str, Bands]:
    """Read the values of an image with a known number of bands.

    Returns:
        The format, and an array (height, width, bands) of unsigned 8- or 16-bit, signed 16-bit or floating-point
        numbers.

    Raises:
        ImageError: The file is damaged or too large, or has another number of bands or another data type.
    """
    with image_errors(name):
        require_acceptable_size(file, name, max_pixels)
        first_bytes = file.read(SIGNATURE_BYTES)
        file.seek(0)
        if first_bytes.startswith(ARRAY_SIGNATURE):
            return "NPY", _as_bands(_bands_last(_read_npy(file, name, max_pixels), bands), name, bands)
        if format_of(first_bytes) == "TIFF" and (values := _read_tiff(file, name, max_pixels)) is not None:
            return "TIFF", _as_bands(values, name, bands)
        with open_image(file, name, max_pixels) as image:
            image.load()
            upright = orientation_of(image).apply(image)
            if upright.mode in ("P", "PA"):
                upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
            return image.format or "", _as_bands(np.asarray(upright), name, bands)


def bands_of_array(array: NDArray[Any], name: str | Path, bands: int, max_pixels: int) -> Bands:
    """Return the values of an array that was passed instead of a file. Raises ImageError."""
    _require_size(array.shape, array.dtype, name, max_pixels)
    return _as_bands(_bands_last(array, bands), name, bands)


def to_levels(values: NDArray[Any], value_range: tuple[float, float] | None) -> NDArray[np.float32]:
    """Scale values so that the range becomes 0–255, clipped; NaN becomes 0, Inf the end of the range."""
    low, high = value_range or _RANGES[values.dtype.str[1:]]
    levels = np.empty(values.shape, np.float32)
    rows = max(1, CHUNK_VALUES // max(1, values[0].size))
    with np.errstate(over="ignore", invalid="ignore"):  # values near the limits of their type, and signaling NaN
        for top in range(0, len(values), rows):
            scaled = (values[top : top + rows].astype(np.float64) - low) * (255 / (high - low))
            levels[top : top + rows] = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255)
    return levels


def preview(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return three channels to look at: RGB as it is, without alpha; other bands are averaged in three groups."""
    channels = pixels.shape[-1]
    if channels in (3, 4):
        return pixels[..., :3]
    groups: list[list[int]] = [[0], [0], [0]] if channels == 1 else [[0], [0, 1], [1]]
    if channels > 2:
        groups = [list(group) for group in np.array_split(np.arange(channels), 3)]
    return np.stack([pixels[..., group].mean(axis=-1) for group in groups], axis=-1).astype(pixels.dtype)


def preview_image(values: Bands) -> Image.Image:
    """Return an RGB image of at most 128 × 128 pixels for a thumbnail, whose extreme values become 0 and 255."""
    down, across = (-(-side // PREVIEW_PX) for side in values.shape[:2])
    with np.errstate(invalid="ignore"):  # signaling NaN
        finite = np.nan_to_num(values[::down, ::across].astype(np.float64), posinf=0.0, neginf=0.0)
    colors = preview(finite.clip(-1e38, 1e38))  # so that sums are finite
    colors -= colors.min()
    return Image.fromarray(to_levels(colors, (0, float(colors.max()) or 1)).astype(np.uint8))


def _read_npy(file: BinaryFile, name: str | Path, max_pixels: int) -> NDArray[Any]:
    """Read an array without pickle after comparing its header with the size of the file."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with HEADER_LOCK:
        shape, is_fortran, dtype = read(file, max_header_size=MAX_HEADER_BYTES)
    _require_size(shape, dtype, name, max_pixels)
    start, end = file.tell(), file.seek(0, io.SEEK_END)
    if end - start != (needed := math.prod(shape) * dtype.itemsize):
        raise EOFError(f"{end - start:,} bytes of values, its header describes {needed:,}")
    file.seek(start)
    values = np.frombuffer(file.read(needed), dtype)
    return values.reshape(shape, order="F" if is_fortran else "C")


def _read_tiff(file: BinaryFile, name: str | Path, max_pixels: int) -> NDArray[Any] | None:
    """Read the bands of the first page, or one band of each page, as (height, width, bands) or (height, width).

    Return None for an image with a palette, which is read as any other image.
    """
    import tifffile

    with IgnoredWarnings(Warning, "tifffile").here(), tifffile.TiffFile(file) as tiff:
        pages = tiff.pages[:MAX_BANDS]
        first: Any = pages[0]
        if int(first.photometric) == tifffile.PHOTOMETRIC.PALETTE:
            return None
        shapes = {(page.shape, str(page.dtype)) for page in pages}
        if len(shapes) > 1 or len(first.shape) != 2:
            pages = pages[:1]  # further pages are masks or smaller copies of the first
        _require_size((*first.shape, len(pages)), np.dtype(first.dtype), name, max_pixels)
        if {int(page.compression) for page in pages} <= _COMPRESSIONS:
            _require_plausible_parts(pages, file.seek(0, io.SEEK_END))
            for page in pages:
                _require_bounded(page, file)
            values = [page.asarray(maxworkers=1) for page in pages]
        elif len(first.shape) == 2:
            return _pages_by_pillow(file, name, len(pages), max_pixels)
        else:
            received = tifffile.COMPRESSION(first.compression).name
            text = f"is compressed with {received}; save it uncompressed or with deflate"
            raise ImageError(name, Message("image-compression", text, received=received))
        if len(pages) > 1:
            return np.stack(values, axis=-1)
        is_planar = values[0].ndim == 3 and int(first.planarconfig) == tifffile.PLANARCONFIG.SEPARATE
        return np.moveaxis(values[0], 0, -1) if is_planar else np.asarray(values[0])


def _require_plausible_parts(pages: Sequence[Any], size_bytes: int) -> None:
    """Raise ValueError if strips or tiles overlap or are missing: a small file could take hours to decode."""
    if sum(sum(page.databytecounts) for page in pages) > size_bytes:
        raise ValueError("strips or tiles that overlap")
    if any(len(page.dataoffsets) != math.prod(page.chunked) for page in pages):
        raise ValueError("strips or tiles are missing")


def _require_bounded(page: Any, file: BinaryFile) -> None:
    """Raise ValueError if a compressed part of a page expands to more than the page: tifffile would allocate it."""
    if (compression := int(page.compression)) not in (_PACKBITS, *_DEFLATE):
        return
    limit = page.nbytes + TILE_BYTES
    for offset, n_bytes in zip(page.dataoffsets, page.databytecounts, strict=True):
        if compression == _PACKBITS and n_bytes * MOST_EXPANDED <= limit:
            continue  # counting takes longer than decoding
        file.seek(offset)
        part = file.read(n_bytes)
        if compression == _PACKBITS:
            size = unpacked_bytes(part, limit)
        else:
            size = len(zlib.decompressobj().decompress(part, limit + 1))
        if size > limit:
            raise ValueError("a strip or tile expands to more than the image")


def _pages_by_pillow(file: BinaryFile, name: str | Path, n_pages: int, max_pixels: int) -> NDArray[Any]:
    """Read the pages of a TIFF with one band each in the compressions that Pillow's libtiff reads."""
    file.seek(0)
    image, pages = read_header(file, "TIFF"), []
    for number in range(n_pages):
        image.seek(number)
        require_usable(image, name, max_pixels)
        if refusal := too_costly(image, file):
            raise ImageError(name, refusal)
        image.load()
        pages.append(np.array(image))
    return np.stack(pages, axis=-1)


def _require_size(shape: tuple[int, ...], dtype: np.dtype[Any], name: str | Path, max_pixels: int) -> None:
    """Raise ImageError if an array has too many pixels or bytes, or another data type than `_RANGES` lists."""
    if dtype.str[1:] not in _RANGES:
        expected = "uint8, uint16, int16, float16, float32 or float64"
        text = f"contains values of type {dtype}, expected {expected}"
        raise ImageError(name, Message("image-array", text, received=str(dtype), expected=expected))
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        text = f"has the shape {list(shape)}, expected (height, width, bands)"
        raise ImageError(name, Message("image-array", text, received=list(shape)))
    sides = sorted(shape)[-2:]
    if reason := too_large(max_pixels, math.prod(shape) * dtype.itemsize, (sides[1], sides[0])):
        raise ImageError(name, reason)


def _bands_last(values: NDArray[Any], bands: int) -> NDArray[Any]:
    """Return (bands, height, width) as (height, width, bands), and other shapes unchanged."""
    values = values[..., 0] if values.ndim == 4 and values.shape[-1] == 1 else values
    is_first = values.ndim == 3 and values.shape[-1] != bands and values.shape[0] == bands
    return np.moveaxis(values, 0, -1) if is_first else values


def _as_bands(values: NDArray[Any], name: str | Path, bands: int) -> Bands:
    """Return (height, width, bands), also of one band as (height, width)."""
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[-1] != bands:
        text = f"has the shape {list(values.shape)}, expected {bands} bands (data.bands)"
        raise ImageError(name, Message("image-bands", text, received=list(values.shape), expected=bands))
    if values.dtype.str[1:] not in _RANGES:
        raise ImageError(name, Message("image-array", f"contains values of type {values.dtype}"))
    return values.astype(values.dtype.newbyteorder("="), copy=False)
