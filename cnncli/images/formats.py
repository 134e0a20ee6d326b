"""The six image formats: known by their first bytes, opened by Pillow, refused with a reason."""

from __future__ import annotations

import io
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import cast

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cnncli.errors import DataError, ImageError, printable
from cnncli.images.limits import (
    LARGE_PIXELS,
    BinaryFile,
    BoundedTiffFile,
    ImpatientFile,
    PlainJpegFile,
    too_costly,
    too_many_bytes,
)
from cnncli.images.pillow_warnings import PILLOW_WARNINGS, quiet_libtiff
from cnncli.images.png_checks import WholePngFile, require_checksums

SIGNATURE_BYTES = 18
"""So many first bytes tell the format."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff")
"""A file of such a name claims to be an image: if it is none, that is an error and not a file to pass over."""

# The last two have their byte order the wrong way round; such files exist and Pillow reads them.
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*")
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
# The classes and not Image.open: it warns above 89 and refuses above 179 million pixels, whatever `max_pixels` says,
# and takes the stereo pair in a phone's JPEG for a format of its own.
_OPENERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": PlainJpegFile,
    "PNG": WholePngFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "WEBP": WebPImageFile,
    "TIFF": BoundedTiffFile,
}
_MODES_WITHOUT_RANGE = {"F": "32-bit float", "I": "signed 16-bit or 32-bit integer"}
_MODES = (
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "I;16",
    "I;16B",
    "I;16L",
    "I;16N",
)
_one_large_image = threading.Lock()


class PassingImageError(ImageError):
    """An image refused for a reason that may pass without a change of the file: a limit, a permission."""


def format_of(first_bytes: bytes) -> str | None:
    """JPEG, PNG, BMP, GIF, WEBP or TIFF by a file's first `SIGNATURE_BYTES`, else None."""
    if first_bytes.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if first_bytes.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if first_bytes.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if first_bytes.startswith(b"RIFF") and first_bytes[8:12] == b"WEBP":
        return "WEBP"
    if first_bytes.startswith(_TIFF_SIGNATURES):
        return "TIFF"
    # Two letters alone would take a text that begins with "BMW" for a bitmap.
    if first_bytes.startswith(b"BM") and int.from_bytes(first_bytes[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    return None


@contextmanager
def regular_file(path: Path) -> Iterator[BinaryFile]:
    """A file open for reading; never waits on a named pipe.

    Raises: ImageError: nothing there, a folder, a pipe or device, no permission.
    """
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):
            raise ImageError(path, "is a folder, not an image" if stat.S_ISDIR(kind) else _no_regular_file(kind))
        file = path.open("rb")
    except FileNotFoundError:
        leads_nowhere = path.is_symlink()
        raise PassingImageError(path, "is a link that leads nowhere" if leads_nowhere else "does not exist") from None
    except (OSError, ValueError) as error:
        raise PassingImageError(path, reason_of(error)) from None
    with file:
        yield file


@contextmanager
def opened(file: BinaryFile, name: str | Path, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """The image in an open file, its header read, its pixels not yet.

    Whatever Pillow raises or says inside the context becomes a reason, its warnings and libtiff's lines are kept
    quiet, and images larger than `LARGE_PIXELS` wait for each other.

    Raises:
        ImageError: none of the six formats, damaged, too large, too costly to decode, or of a color mode without a
            fixed range.
        DataError: Pillow was told elsewhere in this process to accept truncated files.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise DataError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set in this process: Pillow would fill what is missing of a damaged"
            " image with gray. Set it to False; data.on_bad_image: skip leaves damaged images out"
        )
    try:
        with PILLOW_WARNINGS.here():
            require_moderate(file, name, max_pixels)
            image = _open(file, name)
            pixels = image.width * image.height
            if pixels > max_pixels:
                raise PassingImageError(name, too_large(image.width, image.height, max_pixels))
            if refusal := _refused_mode(image) or too_costly(image, file):
                raise ImageError(name, refusal)
            if image.format == "PNG":
                require_checksums(file)
            with _one_large_image if pixels > LARGE_PIXELS else nullcontext():
                yield image
    except ImageError:
        raise
    except MemoryError:
        raise PassingImageError(name, "does not fit into the memory that is free") from None
    except Exception as error:  # a hostile file can make a decoder raise anything, and the file is what is at fault
        kind = PassingImageError if isinstance(error, OSError) and error.errno else ImageError
        raise kind(name, reason_of(error)) from error


def require_moderate(file: BinaryFile, name: str | Path, max_pixels: int) -> int:
    """The length in bytes of a file that is no longer than an image can be; goes back to its beginning.

    Raises: ImageError: it is longer.
    """
    size_bytes = file.seek(0, io.SEEK_END)
    if reason := too_many_bytes(size_bytes, max_pixels):
        raise PassingImageError(name, reason)
    file.seek(0)
    return size_bytes


def too_large(width: int, height: int, max_pixels: int) -> str:
    """The reason for refusing an image with more pixels than the limit."""
    return f"has {width} × {height} = {width * height:,} pixels, more than data.max_pixels = {max_pixels:,}"


def reason_of(error: Exception) -> str:
    """What an exception says about a file, in words that fit behind its name and a colon."""
    if isinstance(error, ImageError):
        return error.reason
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, Image.DecompressionBombError):
        return f"is larger than Pillow takes in this format ({error})"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    said = printable(str(error)).strip()
    if said.lstrip("-").isdigit():  # a number that Pillow looked up in a table, and did not find
        said = f"unknown value {said}"
    if "truncated" in said.lower() or isinstance(error, EOFError):
        return f"is truncated ({said or 'ends too early'})"
    return f"is damaged ({said or type(error).__name__})"


def _open(file: BinaryFile, name: str | Path) -> ImageFile.ImageFile:
    first_bytes = file.read(SIGNATURE_BYTES)
    file.seek(0)
    kind = format_of(first_bytes)
    if kind is None:
        raise ImageError(name, _unknown(first_bytes))
    if kind == "TIFF":
        quiet_libtiff()
    if kind == "WEBP":
        _require_length(file, 8 + int.from_bytes(first_bytes[4:8], "little"))
    opener = _OPENERS[kind]
    image = opener.__new__(opener)
    source = ImpatientFile(file, kind)
    try:
        # In two steps, because an image without pixels is refused by the constructor, in words about something else.
        # A bitmap is exempt: its header is no list of parts, and its run lengths are two bytes each.
        image.__init__(file if kind == "BMP" else source)  # type: ignore[misc]
    except SyntaxError:
        size = cast("tuple[int, int]", getattr(image, "_size", (1, 1)))
        mode = cast("str", getattr(image, "_mode", ""))
        if mode and min(size) == 0:
            raise ImageError(name, f"is zero-sized ({size[0]} × {size[1]} pixels)") from None
        raise
    source.header_is_read()
    return image


def _require_length(file: BinaryFile, told_bytes: int) -> None:
    """Raise EOFError where a file is shorter than it says; libwebp calls every fault by one name."""
    size_bytes = file.seek(0, io.SEEK_END)
    if size_bytes < told_bytes:
        raise EOFError(f"{size_bytes:,} of {told_bytes:,} bytes")
    file.seek(0)


def _unknown(first_bytes: bytes) -> str:
    if not first_bytes:
        return "is empty (0 bytes)"
    return f"is no JPEG, PNG, BMP, GIF, WebP or TIFF image (begins with {first_bytes[:12]!r})"


def _no_regular_file(kind: int) -> str:
    names = {
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return f"is {names.get(stat.S_IFMT(kind), 'something else')}, not a regular file"


def _refused_mode(image: ImageFile.ImageFile) -> str | None:
    mode = image.mode
    if mode == "P" and image.palette is None:
        return "is damaged (it has no palette, which its pixels need)"
    if mode in _MODES:
        return None
    if mode in _MODES_WITHOUT_RANGE:
        return f"has {_MODES_WITHOUT_RANGE[mode]} values, whose range no format fixes; save it with 8 or 16 bits"
    return f"has the color mode {mode}; save it as RGB"


def is_image_name(name: str) -> bool:
    """Whether a file's name claims that it is an image."""
    return name.lower().endswith(IMAGE_SUFFIXES)
