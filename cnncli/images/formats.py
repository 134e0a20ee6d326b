"""The six image formats: recognized by content, opened by Pillow, refused with a reason.

Formats: JPEG, PNG, BMP, GIF, WebP and TIFF. Camera RAW files, most of which are TIFF inside, are not images here: what
a TIFF reader finds first in them is a preview.
"""

from __future__ import annotations

import ctypes
import functools
import io
import logging
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import cast

import PIL
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cnncli.errors import DataError, ImageError, Message, printable
from cnncli.images.limits import (
    LARGE_PIXELS,
    BinaryFile,
    BoundedTiffFile,
    LimitedReads,
    PlainJpegFile,
    too_costly,
    too_many_bytes,
)
from cnncli.images.png_checks import CompletePngFile, require_checksums
from cnncli.runtime.warnings import IgnoredWarnings

SIGNATURE_BYTES = 18
"""Number of leading bytes that identify a format."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff")
"""Suffixes of image files. A file with such a name that is not an image is an error; it is not passed over."""

RAW_SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
"""Suffixes of camera RAW files. Many are TIFF inside, so their names decide before their content."""

# The last two have the wrong byte order; such files exist and Pillow reads them.
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*")
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_NEW_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION, _REDUCED_RESOLUTION = 254, 330, 50706, 1
# Classes, not Image.open: that warns above 89 and refuses above 179 million pixels, whatever `max_pixels` is, and opens
# the two images in a phone's JPEG as a format of its own (MPO).
_OPENERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": PlainJpegFile,
    "PNG": CompletePngFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "WEBP": WebPImageFile,
    "TIFF": BoundedTiffFile,
}
_MODES_WITHOUT_RANGE = {"F": "32-bit float", "I": "signed 16-bit or 32-bit integer"}
_MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"),
    *("I;16", "I;16B", "I;16L", "I;16N"),
)
_one_large_image = threading.Lock()
_PILLOW_WARNINGS = IgnoredWarnings(Warning, "PIL.")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # otherwise logging prints Pillow's messages to stderr


class TransientImageError(ImageError):
    """An image that may become usable without a change of the file: a limit, a permission, free memory."""


def format_of(first_bytes: bytes) -> str | None:
    """Return JPEG, PNG, BMP, GIF, WEBP or TIFF for the first `SIGNATURE_BYTES` of a file, else None."""
    if first_bytes.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if first_bytes.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if first_bytes.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if first_bytes.startswith(b"RIFF") and first_bytes[8:12] == b"WEBP":
        return "WEBP"
    if first_bytes.startswith(_TIFF_SIGNATURES):
        return None if first_bytes[8:10] == b"CR" else "TIFF"  # Canon RAW
    # "BM" is not enough: a text may begin with "BMW".
    if first_bytes.startswith(b"BM") and int.from_bytes(first_bytes[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    return None


def is_image_name(name: str) -> bool:
    """Return whether the suffix of a file name is that of an image."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_raw_name(name: str) -> bool:
    """Return whether the suffix of a file name is that of a camera RAW file."""
    return name.lower().endswith(RAW_SUFFIXES)


@contextmanager
def regular_file(path: Path) -> Iterator[BinaryFile]:
    """Open a regular file for reading; never waits for a named pipe.

    Raises:
        ImageError: the path does not exist, is a directory, pipe or device, or may not be read.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ImageError(path, Message("image-not-a-file", f"is {_kind_of(mode)}, not an image file"))
        file = path.open("rb")
    except FileNotFoundError:
        reason = "is a broken link" if path.is_symlink() else "does not exist"
        raise TransientImageError(path, Message("image-not-found", reason)) from None
    except (OSError, ValueError) as error:
        raise TransientImageError(path, reason_of(error)) from None
    with file:
        yield file


def _kind_of(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "a special file")


@contextmanager
def open_image(file: BinaryFile, name: str | Path, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Open the image in a file; its header is read, its pixels are not.

    Exceptions of Pillow inside the context become `ImageError`, its warnings and libtiff's output are suppressed, and
    images of more than `LARGE_PIXELS` are processed one at a time.

    Raises:
        ImageError: not one of the six formats, damaged, too large, too costly to decode, or of a color mode without a
            defined range.
        DataError: this process has set Pillow to accept truncated files.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise DataError(
            Message(
                "image-load-truncated",
                "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set in this process, so Pillow would fill the missing part of "
                "a damaged image with gray. Set it to False; data.on_bad_image: skip leaves damaged images out.",
            )
        )
    try:
        with _PILLOW_WARNINGS.here():
            require_acceptable_size(file, name, max_pixels)
            image = _open(file, name)
            pixels = image.width * image.height
            if pixels > max_pixels:
                raise TransientImageError(name, too_large(image.width, image.height, max_pixels))
            if refusal := _mode_problem(image) or _raw_problem(image) or too_costly(image, file):
                raise ImageError(name, refusal)
            if image.format == "PNG":
                require_checksums(file)
            with _one_large_image if pixels > LARGE_PIXELS else nullcontext():
                yield image
    except ImageError:
        raise
    except MemoryError:
        raise TransientImageError(name, Message("image-out-of-memory", "does not fit into the free memory")) from None
    except Exception as error:  # a hostile file can make a decoder raise anything
        kind = TransientImageError if isinstance(error, OSError) and error.errno else ImageError
        raise kind(name, reason_of(error)) from error


@contextmanager
def loaded_image(image: Image.Image, name: str | Path, max_pixels: int) -> Iterator[Image.Image]:
    """Check an image whose pixels are in memory already, as `open_image` checks one in a file.

    Raises:
        ImageError: without pixels, too large, or of a color mode without a defined range.
    """
    width, height = image.size
    if not width or not height:
        raise ImageError(name, Message("image-zero-sized", f"has no pixels ({width} × {height})"))
    if width * height > max_pixels:
        raise TransientImageError(name, too_large(width, height, max_pixels))
    if refusal := _mode_problem(image):
        raise ImageError(name, refusal)
    try:
        yield image
    except Exception as error:  # an image may still be damaged if the caller has read only its header
        raise ImageError(name, reason_of(error)) from error


def require_acceptable_size(file: BinaryFile, name: str | Path, max_pixels: int) -> int:
    """Return the size of a file in bytes and rewind it.

    Raises:
        ImageError: the file is larger than any image of `max_pixels`.
    """
    size_bytes = file.seek(0, io.SEEK_END)
    if reason := too_many_bytes(size_bytes, max_pixels):
        raise TransientImageError(name, reason)
    file.seek(0)
    return size_bytes


def too_large(width: int, height: int, max_pixels: int) -> Message:
    """Return the reason for refusing an image with more pixels than the limit."""
    return Message(
        "image-too-many-pixels",
        f"has {width} × {height} = {width * height:,} pixels, more than data.max_pixels = {max_pixels:,}",
        received=width * height,
        expected=max_pixels,
    )


def reason_of(error: Exception) -> Message:
    """Return what an exception says about a file, worded to follow the file's name and a colon."""
    if isinstance(error, ImageError):
        return Message.of(error.reason)
    if isinstance(error, PermissionError):
        return Message("image-unreadable", "permission denied")
    if isinstance(error, Image.DecompressionBombError):
        return Message("image-too-many-pixels", f"is larger than Pillow accepts in this format ({error})")
    if isinstance(error, OSError) and error.strerror:
        return Message("image-unreadable", f"cannot be read ({error.strerror})")
    detail = printable(str(error)).strip()
    if detail.lstrip("-").isdigit():  # a key that Pillow did not find in a table
        detail = f"unknown value {detail}"
    if "truncated" in detail.lower() or isinstance(error, EOFError):
        return Message("image-truncated", f"is truncated ({detail or 'unexpected end of file'})")
    return Message("image-damaged", f"is damaged ({detail or type(error).__name__})")


def _open(file: BinaryFile, name: str | Path) -> ImageFile.ImageFile:
    first_bytes = file.read(SIGNATURE_BYTES)
    file.seek(0)
    kind = format_of(first_bytes)
    if kind is None:
        raise ImageError(name, _unknown_format(first_bytes))
    if kind == "TIFF":
        _silence_libtiff()
    if kind == "WEBP":
        _require_length(file, 8 + int.from_bytes(first_bytes[4:8], "little"))
    opener = _OPENERS[kind]
    image = opener.__new__(opener)
    source = LimitedReads(file, kind)
    try:
        # In two steps, because the constructor refuses an image without pixels, with a message about something else.
        # A BMP is exempt from the limit: its header is not a list of parts, and its run lengths are two bytes each.
        image.__init__(file if kind == "BMP" else source)  # type: ignore[misc]
    except SyntaxError:
        size = cast("tuple[int, int]", getattr(image, "_size", (1, 1)))
        mode = cast("str", getattr(image, "_mode", ""))
        if mode and min(size) == 0:
            reason = Message("image-zero-sized", f"has no pixels ({size[0]} × {size[1]})")
            raise ImageError(name, reason) from None
        raise
    source.end_header()
    return image


def _require_length(file: BinaryFile, stated_bytes: int) -> None:
    """Raise EOFError if a file is shorter than its header states; libwebp reports every error by one name."""
    size_bytes = file.seek(0, io.SEEK_END)
    if size_bytes < stated_bytes:
        raise EOFError(f"{size_bytes:,} of {stated_bytes:,} bytes")
    file.seek(0)


def _unknown_format(first_bytes: bytes) -> Message:
    if not first_bytes:
        return Message("image-empty", "is empty (0 bytes)")
    if first_bytes[8:10] == b"CR" and first_bytes.startswith(_TIFF_SIGNATURES):
        return _raw()
    if first_bytes[4:8] == b"ftyp" and first_bytes[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        return Message("image-heic", "is a HEIC image; convert it to JPEG or PNG")
    return Message(
        "image-unknown-format",
        f"is not a JPEG, PNG, BMP, GIF, WebP or TIFF image (begins with {first_bytes[:12]!r})",
        received=first_bytes[:12],
    )


def _raw() -> Message:
    return Message("image-raw", "is a camera RAW file, whose first image is a preview; export it as JPEG or PNG")


def _raw_problem(image: ImageFile.ImageFile) -> Message | None:
    """Recognize DNG, NEF and their relatives: a TIFF that begins with a preview of what is in its sub-directories."""
    if not isinstance(image, TiffImageFile):
        return None
    tags = image.tag_v2
    is_preview = tags.get(_NEW_SUBFILE_TYPE, 0) == _REDUCED_RESOLUTION and _SUB_IFDS in tags
    return _raw() if is_preview or _DNG_VERSION in tags else None


def _mode_problem(image: Image.Image) -> Message | None:
    mode = image.mode
    if mode == "P" and image.palette is None:
        return Message("image-damaged", "is damaged (palette missing)")
    if mode in _MODES:
        return None
    if mode in _MODES_WITHOUT_RANGE:
        values = f"has {_MODES_WITHOUT_RANGE[mode]} values, for which no format defines a range"
        return Message("image-mode", f"{values}; save it with 8 or 16 bits", received=mode)
    return Message("image-mode", f"has the color mode {mode}; save it as RGB", received=mode)


@functools.cache
def _silence_libtiff() -> None:
    """Stop Pillow's libtiff from printing to stderr, for the rest of the process; do nothing if it is not found.

    Its errors still reach Python as exceptions. Redirecting stderr would lose lines of other threads.
    """
    package = Path(PIL.__file__).parent
    for library in (*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")):
        try:
            loaded = ctypes.CDLL(str(library))
            for function in (loaded.TIFFSetErrorHandler, loaded.TIFFSetWarningHandler):
                function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
                function(None)
        except (OSError, AttributeError):
            continue
