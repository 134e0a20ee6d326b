"""Kinds of files, their outcomes, and helpers for making them."""

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
    """Is an image.

    Attributes:
        pixels: uint8 (height, width, 3), as it should be seen.
        tolerance: mean difference in gray levels that its format may make.
    """

    pixels: Pixels
    tolerance: float = 0.0


@dataclass(frozen=True)
class Refused:
    """Is refused with a problem of this code."""

    code: str


@dataclass(frozen=True)
class PassedOver:
    """Is left out and counted in a folder.

    Attributes:
        reason: under which it is counted.
        named: what becomes of it where it is named on the command line.
    """

    reason: str
    named: Used | Refused


Outcome = Used | Refused | PassedOver


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of file.

    Attributes:
        name: of the kind, in ASCII.
        file: its path below a class folder.
        make: writes it to a path whose folder is there.
        outcome: of it.
        argument: what of `file` is named on the command line.
    """

    name: str
    file: str
    make: Callable[[Path], object]
    outcome: Outcome
    argument: str

    def lay(self, folder: Path) -> Path:
        """Write it into a class folder; gives its path."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        self.make(path)
        return path


def kind(file: str, make: bytes | Callable[[Path], object], outcome: Outcome, argument: str | None = None) -> Kind:
    """A kind of file, from its bytes or from what writes it."""
    write = functools.partial(Path.write_bytes, data=make) if isinstance(make, bytes) else make
    return Kind(ascii(file)[1:-1][:50], file, write, outcome, file if argument is None else argument)


Shades = Iterator[Pixels]


def image(shade: Pixels) -> Image.Image:
    """An image of pixels."""
    return Image.fromarray(shade)


def jpeg(shade: Pixels, **options: Any) -> bytes:
    """A JPEG of pixels, as good as it gets."""
    return encoded(image(shade), "JPEG", **{"quality": 95, "subsampling": 0, **options})


def as_jpeg(shade: Pixels) -> Used:
    """Used, with what a JPEG may lose."""
    return Used(shade, 6.0)


def gray(shade: Pixels) -> Pixels:
    """Gray levels (height, width) of pixels."""
    return np.asarray(image(shade).convert("L"))


def as_gray(levels: Pixels) -> Used:
    """Used, as gray levels (height, width)."""
    return Used(np.repeat(levels[..., None], 3, axis=-1))


def flipped(data: bytes, at: int) -> bytes:
    """One bit the other way."""
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def over_white(shade: Pixels, share: NDArray[np.float64]) -> Pixels:
    """Return pixels with an opacity of 0-1, composited on white."""
    return np.floor(shade * share + 255 * (1 - share) + 0.5).astype(np.uint8)
