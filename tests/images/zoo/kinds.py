"""Kinds of files, their expected outcomes, and helpers that create them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.images.making import encoded

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Used:
    """The file is used as an image.

    Attributes:
        pixels: Expected pixels, uint8 of shape (height, width, 3).
        tolerance: Mean difference in gray levels that the format may cause.
    """

    pixels: Pixels
    tolerance: float = 0.0


@dataclass(frozen=True)
class Refused:
    """The file is refused with a problem of this code."""

    code: str


@dataclass(frozen=True)
class LeftOut:
    """The file is left out of a folder and counted.

    Attributes:
        reason: Reason under which it is counted.
        named: Outcome if it is named on the command line.
    """

    reason: str
    named: Used | Refused


Outcome = Used | Refused | LeftOut


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of file.

    Attributes:
        name: Name of the kind, in ASCII.
        file: Path below a class folder.
        make: Function that writes the file to a path whose folder exists.
        outcome: Expected outcome.
        argument: Part of `file` that is named on the command line.
    """

    name: str
    file: str
    make: Callable[[Path], object]
    outcome: Outcome
    argument: str

    def lay(self, folder: Path) -> Path:
        """Write the file into a class folder, and return its path."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        self.make(path)
        return path


def kind(file: str, make: bytes | Callable[[Path], object], outcome: Outcome, argument: str | None = None) -> Kind:
    """Return a kind of file, given its bytes or a function that writes it."""
    write = functools.partial(Path.write_bytes, data=make) if isinstance(make, bytes) else make
    return Kind(ascii(file)[1:-1][:50], file, write, outcome, file if argument is None else argument)


Shades = Iterator[Pixels]


def image(shade: Pixels) -> Image.Image:
    """Return a Pillow image of pixels."""
    return Image.fromarray(shade)


def jpeg(shade: Pixels, **options: Any) -> bytes:
    """Return pixels as a JPEG of the highest quality."""
    return encoded(image(shade), "JPEG", **{"quality": 95, "subsampling": 0, **options})


def as_jpeg(shade: Pixels) -> Used:
    """Return the outcome that pixels are used, with the tolerance of a JPEG."""
    return Used(shade, 6.0)


def gray(shade: Pixels) -> Pixels:
    """Return the gray levels of pixels, of shape (height, width)."""
    return np.asarray(image(shade).convert("L"))


def as_gray(levels: Pixels) -> Used:
    """Return the outcome that gray levels of shape (height, width) are used."""
    return Used(np.repeat(levels[..., None], 3, axis=-1))


def flipped(data: bytes, at: int) -> bytes:
    """Return data with one bit flipped."""
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def over_white(shade: Pixels, share: NDArray[np.float64]) -> Pixels:
    """Return pixels composited onto white with an opacity of 0–1."""
    return np.floor(shade * share + 255 * (1 - share) + 0.5).astype(np.uint8)
