"""One affine warp for all geometric operations, composed beforehand: a crop, rotation, shift, shear, zoom, flips, and
the moves of RandAugment, in this order.

Rotation to flips mean what they mean in Keras's ImageDataGenerator: about the image's centre, in the order rotation,
shift, shear, zoom, then the flips. Where Keras 3.15 computes something else than it documents, this follows the words:

- a width shift moves columns (there it moves rows);
- the centre of an image that is not square is its centre (there x and y of the centre change places);
- `wrap` repeats every `width` pixels (there, through SciPy, every `width - 1`);
- `constant` fades over the last pixel like every other edge (there it is cut off).

A crop enlarges a part of the image. Whatever the other operations bring in from beyond that part is shown as far as
the image has it; only then comes the fill. Moves mean what they mean in AutoAugment, which is Pillow's affine
transformation: about the corner of the image, rotation about its centre.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.random_rect import WHOLE, Part

FillMode = Literal["nearest", "reflect", "wrap", "constant"]

_BORDERS: dict[FillMode, str] = {
    "nearest": "BORDER_REPLICATE",  # aaaa|abcd|dddd
    "reflect": "BORDER_REFLECT",  # dcba|abcd|dcba
    "wrap": "BORDER_WRAP",  # abcd|abcd|abcd
    "constant": "BORDER_CONSTANT",  # kkkk|abcd|kkkk
}


MoveKind = Literal["rotate", "shear_x", "shear_y", "translate_x", "translate_y"]


@dataclass(frozen=True)
class Move:
    """One move of RandAugment.

    Attributes:
        kind: which.
        amount: degrees counter-clockwise of a rotation, tangent of a shear's angle, fraction of the image's width or
            height of a translation; positive ones move the image to the left or up.
    """

    kind: MoveKind
    amount: float


@dataclass(frozen=True)
class Geometry:
    """What one rendering does to the places of the pixels; the defaults do nothing.

    Attributes:
        rotation_degrees: counter-clockwise as one looks at the image.
        width_shift: fraction of the width; a positive one moves the image to the left.
        height_shift: fraction of the height; a positive one moves the image up.
        shear_degrees: angle between the old columns and the new ones.
        zoom_x: how many old columns one new column spans; above 1 the image shrinks.
        zoom_y: the same for rows.
        horizontal_flip: left and right change places, after all the above.
        vertical_flip: top and bottom change places, after all the above.
        crop: the part of the image that all the above sees as an image.
        moves: one after the other, after all the above.
    """

    rotation_degrees: float = 0.0
    width_shift: float = 0.0
    height_shift: float = 0.0
    shear_degrees: float = 0.0
    zoom_x: float = 1.0
    zoom_y: float = 1.0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    crop: Part = WHOLE
    moves: tuple[Move, ...] = ()


def source_matrix(geometry: Geometry, height: int, width: int) -> NDArray[np.float64]:
    """Where in the image each pixel of the rendering comes from.

    Args:
        geometry: what the rendering does.
        height: of the image, in pixels.
        width: of the image, in pixels.
    Returns: shape (2, 3); times the column vector (x, y, 1) of a pixel's centre in the rendering it gives (x, y) in
        the image. Pixel centres have whole numbers, the first is (0, 0).
    """
    shear = np.deg2rad(geometry.shear_degrees)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    steps = (
        _shift(centre_x, centre_y),
        _rotation(geometry.rotation_degrees),
        _shift(geometry.width_shift * width, geometry.height_shift * height),
        _matrix((1.0, -np.sin(shear), 0.0), (0.0, np.cos(shear), 0.0)),
        _matrix((geometry.zoom_x, 0.0, 0.0), (0.0, geometry.zoom_y, 0.0)),
        _shift(-centre_x, -centre_y),
        _flips(geometry, height, width),
    )
    matrix = functools.reduce(lambda product, step: step @ product, reversed(steps))
    if geometry.crop != WHOLE:
        matrix = _crop(geometry.crop, height, width) @ matrix
    for move in geometry.moves:
        matrix = matrix @ _move(move, height, width)
    return matrix[:2]


def warp(pixels: NDArray[np.uint8], geometry: Geometry, fill_mode: FillMode, cval: int) -> NDArray[np.uint8]:
    """An image after one affine warp, bilinear.

    OpenCV 5 interpolates in floating point: the exact value, rounded. (OpenCV 4 rounds places to 1/32 pixel, which is
    up to 5 gray levels on noise.) Its number of threads, a setting of the whole process, is left alone: of several
    calls at once one is split among them, the others run where they are, none waits, and the pixels are the same.

    Args:
        pixels: uint8 (height, width, channels), one channel or three.
        geometry: what to do; `Geometry()` returns `pixels` itself.
        fill_mode: what is seen beyond the image's edge.
        cval: gray value of `constant`, 0-255.
    Returns: uint8, same shape.
    """
    if geometry == Geometry():
        return pixels
    import cv2

    height, width, _ = pixels.shape
    warped: NDArray[np.uint8] = cv2.warpAffine(
        pixels,
        source_matrix(geometry, height, width),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=getattr(cv2, _BORDERS[fill_mode]),
        borderValue=(cval, cval, cval),
    )
    return warped.reshape(pixels.shape)  # OpenCV drops the axis of a single channel


def _matrix(first: tuple[float, float, float], second: tuple[float, float, float]) -> NDArray[np.float64]:
    """A 3×3 affine matrix from its first two rows."""
    return np.array((first, second, (0.0, 0.0, 1.0)))


def _shift(x: float, y: float) -> NDArray[np.float64]:
    """The matrix that moves by (x, y) pixels."""
    return _matrix((1.0, 0.0, x), (0.0, 1.0, y))


def _rotation(degrees: float) -> NDArray[np.float64]:
    """The matrix that looks for each pixel where a counter-clockwise rotation about the origin took it from."""
    angle = np.deg2rad(degrees)
    return _matrix((np.cos(angle), -np.sin(angle), 0.0), (np.sin(angle), np.cos(angle), 0.0))


def _flips(geometry: Geometry, height: int, width: int) -> NDArray[np.float64]:
    """The matrix of both flips: whole numbers, so that a flip alone copies pixels exactly."""
    return _matrix(
        (-1.0, 0.0, width - 1.0) if geometry.horizontal_flip else (1.0, 0.0, 0.0),
        (0.0, -1.0, height - 1.0) if geometry.vertical_flip else (0.0, 1.0, 0.0),
    )


def _crop(part: Part, height: int, width: int) -> NDArray[np.float64]:
    """The matrix that stretches a part over the image, edge on edge; the edges are half a pixel off the centres."""
    return _matrix(
        (part.width, 0.0, part.left * width + (part.width - 1.0) / 2),
        (0.0, part.height, part.top * height + (part.height - 1.0) / 2),
    )


def _move(move: Move, height: int, width: int) -> NDArray[np.float64]:
    """The matrix of a move; what happens about the corner happens half a pixel off the first centre."""
    amount = move.amount
    if move.kind == "rotate":
        centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
        return _shift(centre_x, centre_y) @ _rotation(amount) @ _shift(-centre_x, -centre_y)
    if move.kind == "translate_x":
        return _shift(amount * width, 0.0)
    if move.kind == "translate_y":
        return _shift(0.0, amount * height)
    if move.kind == "shear_x":
        return _matrix((1.0, amount, amount / 2), (0.0, 1.0, 0.0))
    return _matrix((1.0, 0.0, 0.0), (amount, 1.0, amount / 2))
