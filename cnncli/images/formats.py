"""Recognize the image formats by content, open images with Pillow, or refuse them with a reason.

HEIC and DICOM need a package that an extra installs; without it, their files are refused with the command for it.

Camera RAW files, most of which are TIFFs, are refused, because the first image in them is a preview.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from cnncli.errors import DataError, ImageError, Message, printable
from cnncli.images.limits import LARGE_PIXELS, BinaryFile, too_costly, too_large
from cnncli.images.readers import read_header, require_checksums
from cnncli.runtime.warnings import IgnoredWarnings
from cnncli.shards.shard import open_image_file
from cnncli.storage.image_names import DICOM_SUFFIXES, HEIC_SUFFIXES

SIGNATURE_BYTES = 132
"""Number of leading bytes that identify a format; DICOM files begin with 128 bytes of anything."""

ARRAY_SUFFIX, ARRAY_SIGNATURE = ".npy", b"\x93NUMPY"
"""Suffix and first bytes of NumPy arrays, which are images if a config has `color: bands`."""

RAW_SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
"""Suffixes of camera RAW files. Many are TIFFs, so the suffix is checked before the content."""

_TIFF = rb"(?:II[*+]\0|MM\0[*+]|MM\*\0|II\0\*)"  # the last two have the wrong byte order; Pillow reads such files
_CANON_RAW = _TIFF + rb".{4}CR"
_HEIC_BRANDS = rb"hei[cxms]|hev[cxms]|mif1|msf1"
_SIGNATURES = {
    "DICOM": rb".{128}DICM",
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "WEBP": rb"RIFF.{4}WEBP",
    "TIFF": rb"(?!" + _CANON_RAW + rb")" + _TIFF,
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",  # text can start with "BM", too
    "JPEG2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "AVIF": rb".{4}ftyp(?:avi[fs]|(?:mif1|msf1).{4}(?:.{4})*?avi[fs])",
    "HEIC": rb".{4}ftyp(?:" + _HEIC_BRANDS + rb")",
}
_NEW_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION, _REDUCED_RESOLUTION = 254, 330, 50706, 1  # TIFF tags and a value
_MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"),
    *("I;16", "I;16B", "I;16L", "I;16N"),
)
_RAW = Message("image-raw", "is a camera RAW file, whose first image is a preview; export it as JPEG or PNG")
_one_large_image = threading.Lock()
_PILLOW_WARNINGS, _PYDICOM_WARNINGS = IgnoredWarnings(Warning, "PIL."), IgnoredWarnings(Warning, "pydicom.")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # otherwise logging prints Pillow's messages to stderr


class TransientImageError(ImageError):
    """An image that can become usable without a change of its file, e.g. if a permission or free memory was missing."""


@dataclass(frozen=True)
class ExtraFormat:
    """A format whose reader is not installed with cnncli.

    Attributes:
        extra: Name of the extra that installs it.
        package: Name under which it is imported.
        project: Name under which it is known.
        suffixes: Suffixes of the files.
    """

    extra: str
    package: str
    project: str
    suffixes: tuple[str, ...]

    @property
    def is_installed(self) -> bool:
        """Whether the reader can be imported."""
        return importlib.util.find_spec(self.package) is not None

    @property
    def command(self) -> str:
        """The command that installs the reader."""
        return f"pip install 'cnncli[{self.extra}]'"


EXTRA_FORMATS = {
    "HEIC": ExtraFormat("heic", "pillow_heif", "pillow-heif", HEIC_SUFFIXES),
    "DICOM": ExtraFormat("dicom", "pydicom", "pydicom", DICOM_SUFFIXES),
}


def extra_format_named(name: str) -> str | None:
    """Return HEIC or DICOM for the name of a file with one of their suffixes, or None."""
    return next((kind for kind, one in EXTRA_FORMATS.items() if name.lower().endswith(one.suffixes)), None)


def is_readable(kind: str | None) -> bool:
    """Return whether images of a format can be read; None is no format."""
    return kind is not None and (kind not in EXTRA_FORMATS or EXTRA_FORMATS[kind].is_installed)


def format_of(first_bytes: bytes) -> str | None:
    """Return the format, such as JPEG, for the first `SIGNATURE_BYTES` of a file, or None."""
    kinds = (kind for kind, pattern in _SIGNATURES.items() if re.match(pattern, first_bytes, re.DOTALL))
    return next(kinds, None)


@contextmanager
def regular_file(path: Path) -> Iterator[BinaryFile]:
    """Open a regular file, or an image in a shard, without blocking on a named pipe. Raises ImageError."""
    try:
        file = open_image_file(path)
        if file is None:
            if not stat.S_ISREG(path.stat().st_mode):
                kind = "a directory" if path.is_dir() else "a pipe, socket or device"
                raise ImageError(path, Message("image-not-a-file", f"is {kind}, not an image file"))
            file = path.open("rb")
    except FileNotFoundError:
        reason = "is a broken link" if path.is_symlink() else "does not exist"
        raise TransientImageError(path, Message("image-not-found", reason)) from None
    except (OSError, ValueError) as error:
        raise TransientImageError(path, image_problem(error)) from None
    with file:
        yield file


@contextmanager
def open_image(file: BinaryFile, name: str | Path, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Open the image in a file, and read its header but not its pixels.

    Inside the context, Pillow's exceptions become `ImageError`, its warnings and libtiff's output are suppressed, and
    images of more than `LARGE_PIXELS` are processed one at a time.

    Raises:
        ImageError: Of another format, damaged, too large, too costly to decode, or of a color mode without a
            defined range.
        DataError: This process has configured Pillow to accept truncated files.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        text = "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set in this process, which would hide damaged images"
        raise DataError(Message("image-load-truncated", f"{text}. Set it to False."))
    with image_errors(name), _PILLOW_WARNINGS.here(), _PYDICOM_WARNINGS.here():
        size_bytes = require_acceptable_size(file, name, max_pixels)
        first_bytes = file.read(SIGNATURE_BYTES)
        kind = format_of(first_bytes)
        if kind is None:
            raise ImageError(name, _unknown_format(first_bytes))
        if not is_readable(kind):
            raise TransientImageError(name, _not_installed(kind))
        if kind == "WEBP" and size_bytes < (stated := 8 + int.from_bytes(first_bytes[4:8], "little")):
            raise EOFError(f"{size_bytes:,} of {stated:,} bytes")  # libwebp's only name for all errors
        file.seek(0)
        image = read_header(file, kind)
        require_usable(image, name, max_pixels)
        if refusal := too_costly(image, file):
            raise ImageError(name, refusal)
        if kind == "PNG":
            require_checksums(file)
        with _one_large_image if image.width * image.height > LARGE_PIXELS else nullcontext():
            yield image


def require_acceptable_size(file: BinaryFile, name: str | Path, max_pixels: int) -> int:
    """Return the size of a file in bytes and rewind it.

    Raises ImageError if the file is larger than any image of `max_pixels` pixels could be.
    """
    size_bytes = file.seek(0, io.SEEK_END)
    if reason := too_large(max_pixels, size_bytes):
        raise TransientImageError(name, reason)
    file.seek(0)
    return size_bytes


def image_problem(error: Exception) -> Message:
    """Return the message for an exception about a file, phrased to follow the path and a colon."""
    if isinstance(error, ImageError):
        return Message.of(error.reason)
    if isinstance(error, MemoryError):
        return Message("image-out-of-memory", "does not fit in the available memory")
    if isinstance(error, Image.DecompressionBombError):
        return Message("image-too-many-pixels", f"is larger than Pillow accepts in this format ({error})")
    if isinstance(error, OSError) and error.strerror:
        return Message("image-unreadable", f"cannot be read ({error.strerror})")
    detail = printable(str(error)).strip()
    if detail.lstrip("-").isdigit():  # a key that Pillow did not find in a table
        detail = f"unknown value {detail}"
    if "truncated" in detail.lower() or isinstance(error, EOFError):
        # Pillow repeats that, with a number of bytes that is only about its buffer.
        is_repetition = not detail or detail.startswith("image file is truncated")
        return Message("image-truncated", f"is truncated ({'unexpected end of file' if is_repetition else detail})")
    return Message("image-damaged", f"is damaged ({detail or type(error).__name__})")


@contextmanager
def image_errors(name: str | Path) -> Iterator[None]:
    """Convert every exception to `ImageError`; a hostile file can make a decoder raise anything.

    A reader that only knows the content of a file raises an `ImageError` without a path, which gets the name here.
    """
    try:
        yield
    except ImageError as error:
        if error.path:
            raise
        raise type(error)(name, error.reason) from error
    except Exception as error:
        is_transient = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno)
        raise (TransientImageError if is_transient else ImageError)(name, image_problem(error)) from error


def require_usable(image: Image.Image, name: str | Path, max_pixels: int) -> None:
    """Check the number of pixels and the color mode, and that the image is not the preview in a RAW file."""
    if reason := too_large(max_pixels, size=image.size):
        raise TransientImageError(name, reason)
    if 0 in image.size:
        raise ImageError(name, Message("image-zero-sized", f"has no pixels ({image.width} × {image.height})"))
    if image.mode == "P" and image.palette is None:
        raise ImageError(name, Message("image-damaged", "is damaged (palette missing)"))
    if image.mode not in _MODES:
        text = f"has the color mode {image.mode}; save it as RGB or grayscale with 8 or 16 bits"
        raise ImageError(name, Message("image-mode", text, received=image.mode))
    if isinstance(image, TiffImageFile):  # DNG, NEF and their relatives: the photograph is in a sub-directory
        tags = image.tag_v2
        is_preview = tags.get(_NEW_SUBFILE_TYPE, 0) == _REDUCED_RESOLUTION and _SUB_IFDS in tags
        if is_preview or _DNG_VERSION in tags:
            raise ImageError(name, _RAW)


def _unknown_format(first_bytes: bytes) -> Message:
    if not first_bytes:
        return Message("image-empty", "is empty (0 bytes)")
    if re.match(_CANON_RAW, first_bytes, re.DOTALL):
        return _RAW
    beginning = printable(first_bytes[:12].decode("ascii", "backslashreplace"))
    text = f"is not an image of a known format (begins with “{beginning}”)"
    return Message("image-unknown-format", text, received=first_bytes[:12])


def _not_installed(kind: str) -> Message:
    one = EXTRA_FORMATS[kind]
    text = f"is a {kind} image, which needs {one.project}. Install it with: {one.command}"
    return Message("image-reader-not-installed", text, received=kind, expected=one.project)
