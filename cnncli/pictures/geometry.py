"""One affine warp for all geometric operations: rotation, shift, shear, zoom and flips, composed beforehand.

The operations mean what they mean in Keras's ImageDataGenerator: about the picture's centre, in the order rotation,
shift, shear, zoom, then the flips. Where Keras 3.15 computes something else than it documents, this follows the words:

- a width shift moves columns (there it moves rows);
- the centre of a picture that is not square is its centre (there x and y of the centre change places);
- `wrap` repeats every `width` pixels (there, through SciPy, every `width - 1`);
- `constant` fades over the last pixel like every other edge (there it is cut off).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FillMode = Literal["nearest", "reflect", "wrap", "constant"]

_BORDERS: dict[FillMode, str] = {
    "nearest": "BORDER_REPLICATE",  # aaaa|abcd|dddd
    "reflect": "BORDER_REFLECT",  # dcba|abcd|dcba
    "wrap": "BORDER_WRAP",  # abcd|abcd|abcd
    "constant": "BORDER_CONSTANT",  # kkkk|abcd|kkkk
}


@dataclass(frozen=True)
class Geometry:
    """What one rendering does to the places of the pixels; the defaults do nothing.

    Attributes:
        rotation_degrees: counter-clockwise as one looks at the picture.
        width_shift: fraction of the width; a positive one moves the picture to the left.
        height_shift: fraction of the height; a positive one moves the picture up.
        shear_degrees: angle between the old columns and the new ones.
        zoom_x: how many old columns one new column spans; above 1 the picture shrinks.
        zoom_y: the same for rows.
        horizontal_flip: left and right change places, after all the above.
        vertical_flip: top and bottom change places, after all the above.
    """

    rotation_degrees: float = 0.0
    width_shift: float = 0.0
    height_shift: float = 0.0
    shear_degrees: float = 0.0
    zoom_x: float = 1.0
    zoom_y: float = 1.0
    horizontal_flip: bool = False
    vertical_flip: bool = False


def source_matrix(geometry: Geometry, height: int, width: int) -> NDArray[np.float64]:
    """Where in the picture each pixel of the rendering comes from.

    Args:
        geometry: what the rendering does.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
    Returns: shape (2, 3); times the column vector (x, y, 1) of a pixel's centre in the rendering it gives (x, y) in
        the picture. Pixel centres have whole numbers, the first is (0, 0).
    """
    angle, shear = np.deg2rad(geometry.rotation_degrees), np.deg2rad(geometry.shear_degrees)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    steps = (
        _shift(centre_x, centre_y),
        _matrix((np.cos(angle), -np.sin(angle), 0.0), (np.sin(angle), np.cos(angle), 0.0)),
        _shift(geometry.width_shift * width, geometry.height_shift * height),
        _matrix((1.0, -np.sin(shear), 0.0), (0.0, np.cos(shear), 0.0)),
        _matrix((geometry.zoom_x, 0.0, 0.0), (0.0, geometry.zoom_y, 0.0)),
        _shift(-centre_x, -centre_y),
        _flips(geometry, height, width),
    )
    return np.asarray(np.linalg.multi_dot(steps)[:2])


def warp(pixels: NDArray[np.uint8], geometry: Geometry, fill_mode: FillMode, cval: int) -> NDArray[np.uint8]:
    """A picture after one affine warp, bilinear.

    OpenCV 5 interpolates in floating point: the exact value, rounded. (OpenCV 4 rounds places to 1/32 pixel, which is
    up to 5 grey levels on noise.) Its number of threads, a setting of the whole process, is left alone: of several
    calls at once one is split among them, the others run where they are, none waits, and the pixels are the same.

    Args:
        pixels: uint8 (height, width, channels), one channel or three.
        geometry: what to do; `Geometry()` returns `pixels` itself.
        fill_mode: what is seen beyond the picture's edge.
        cval: grey value of `constant`, 0-255.
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


def _flips(geometry: Geometry, height: int, width: int) -> NDArray[np.float64]:
    """The matrix of both flips: whole numbers, so that a flip alone copies pixels exactly."""
    return _matrix(
        (-1.0, 0.0, width - 1.0) if geometry.horizontal_flip else (1.0, 0.0, 0.0),
        (0.0, -1.0, height - 1.0) if geometry.vertical_flip else (0.0, 1.0, 0.0),
    )
