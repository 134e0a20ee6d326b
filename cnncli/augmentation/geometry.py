"""Geometric operations: rotation, shift, shear, zoom and flip, composed with all other affine steps into one warp.

The settings have the meaning of those in Keras's ImageDataGenerator: about the center of the image, in the order
rotation, shift, shear, zoom, flip. Where Keras 3.15 differs from its documentation, the documentation is followed:

- a width shift moves columns (in Keras it moves rows);
- the center of an image that is not square is its center (in Keras its x and y are swapped);
- `wrap` repeats every `width` pixels (in Keras, through SciPy, every `width - 1`);
- `constant` fades over the last pixel like every other border (in Keras it is cut off).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial, reduce
from itertools import groupby
from typing import Annotated, Literal

from pydantic import Field

from cnncli.augmentation.operation import AffineStep, FactorOperation, Matrix, Operation, Pixels, Unit, ViewRandom
from cnncli.catalogue.settings import Fraction, ZoomRange

WARPED_TOGETHER = (1, 3, 4)
"""Numbers of channels that OpenCV warps together in floating point; more are divided into threes and ones."""

FillMode = Literal["nearest", "reflect", "wrap", "constant"]

_BORDERS: dict[FillMode, str] = {
    "nearest": "BORDER_REPLICATE",  # aaaa|abcd|dddd
    "reflect": "BORDER_REFLECT",  # dcba|abcd|dcba
    "wrap": "BORDER_WRAP",  # abcd|abcd|abcd
    "constant": "BORDER_CONSTANT",  # kkkk|abcd|kkkk
}


class Rotation(Operation):
    """Rotation about the center."""

    rotation_range: float = Field(default=0.0, ge=0.0, le=180.0)
    """Maximum rotation in degrees, in both directions."""
    unit = Unit("degrees", "a fraction of a full turn", 360)
    description = "rotation ±{rotation_range:g}°"

    def draw(self, random: ViewRandom) -> Sequence[AffineStep]:
        """Draw the angle."""
        degrees = random.plus_minus("rotation", self.rotation_range)
        return (AffineStep(partial(rotate, degrees=degrees), "center"),)


class Shift(Operation):
    """Horizontal and vertical shift."""

    width_shift_range: Fraction = 0.0
    """Maximum horizontal shift as a fraction of the width, in both directions."""
    height_shift_range: Fraction = 0.0
    """Maximum vertical shift as a fraction of the height, in both directions."""

    def draw(self, random: ViewRandom) -> Sequence[AffineStep]:
        """Draw both shifts."""
        x = random.plus_minus("width_shift", self.width_shift_range)
        y = random.plus_minus("height_shift", self.height_shift_range)
        return (AffineStep(partial(translate, x=x, y=y), "center"),)

    def describe(self) -> str:
        """Describe both ranges."""
        shifts = {"width": self.width_shift_range, "height": self.height_shift_range}
        return " · ".join(f"{name} shift ±{100 * limit:g} %" for name, limit in shifts.items() if limit)


class Shear(Operation):
    """Shear of the columns."""

    shear_range: float = Field(default=0.0, ge=0.0, lt=90.0)
    """Maximum shear in degrees, in both directions, as in Keras (0.2 is almost nothing)."""
    unit = Unit("degrees, as in Keras", "radians", math.degrees(1.0))
    description = "shear ±{shear_range:g}°"

    def draw(self, random: ViewRandom) -> Sequence[AffineStep]:
        """Draw the angle."""
        degrees = random.plus_minus("shear", self.shear_range)
        return (AffineStep(partial(shear_columns, degrees=degrees), "center"),)


class Zoom(FactorOperation):
    """Zoom of each axis by its own factor."""

    zoom_range: Annotated[float, Field(ge=0.0, lt=1.0)] | ZoomRange = 0.0
    """Zoom of each axis: a fraction z for factors in [1 − z, 1 + z], or [lowest, highest] factor."""

    @property
    def limits(self) -> ZoomRange:
        """Lowest and highest zoom factor."""
        zoom = self.zoom_range
        return zoom if isinstance(zoom, tuple) else (1.0 - zoom, 1.0 + zoom)

    def draw(self, random: ViewRandom) -> Sequence[AffineStep]:
        """Draw a factor for each axis."""
        x, y = self.factor(random.shared["zoom_x"]), self.factor(random.shared["zoom_y"])
        return (AffineStep(partial(scale, x=x, y=y), "center"),)


class Flip(Operation):
    """Horizontal and vertical flip."""

    horizontal_flip: bool = False
    """Flip left and right with a probability of 0.5."""
    vertical_flip: bool = False
    """Flip top and bottom with a probability of 0.5."""

    def draw(self, random: ViewRandom) -> Sequence[AffineStep]:
        """Decide at random whether to flip."""
        horizontal = self.horizontal_flip and random.shared["horizontal_flip"] < 0.5
        vertical = self.vertical_flip and random.shared["vertical_flip"] < 0.5
        if not horizontal and not vertical:
            return ()
        return (AffineStep(partial(mirror, horizontal=horizontal, vertical=vertical)),)

    def describe(self) -> str:
        """Name the axes."""
        axes = {"horizontal": self.horizontal_flip, "vertical": self.vertical_flip}
        return " · ".join(f"{axis} flip" for axis, is_on in axes.items() if is_on)


def rotate(_height: int, _width: int, degrees: float) -> Matrix:
    """Return the inverse of a counter-clockwise rotation by `degrees`."""
    import numpy as np

    angle = np.deg2rad(degrees)
    return affine((np.cos(angle), -np.sin(angle), 0.0), (np.sin(angle), np.cos(angle), 0.0))


def translate(height: int, width: int, x: float, y: float) -> Matrix:
    """Return a shift by fractions of the width and height; positive values move the content to the left and up."""
    return _translation(x * width, y * height)


def shear_columns(_height: int, _width: int, degrees: float) -> Matrix:
    """Return a shear; `degrees` is the angle between the original and the sheared columns."""
    import numpy as np

    angle = np.deg2rad(degrees)
    return affine((1.0, -np.sin(angle), 0.0), (0.0, np.cos(angle), 0.0))


def scale(_height: int, _width: int, x: float, y: float) -> Matrix:
    """Return a zoom by the number of input columns and rows per output pixel (above 1, the image shrinks)."""
    return affine((x, 0.0, 0.0), (0.0, y, 0.0))


def mirror(height: int, width: int, horizontal: bool, vertical: bool) -> Matrix:
    """Return a flip as a matrix of integers, so that a flip without other steps copies pixels exactly."""
    return affine(
        (-1.0, 0.0, width - 1.0) if horizontal else (1.0, 0.0, 0.0),
        (0.0, -1.0, height - 1.0) if vertical else (0.0, 1.0, 0.0),
    )


def move(height: int, width: int, kind: str, amount: float) -> Matrix:
    """Return a geometric operation of RandAugment, one of `MOVES`, relative to the corner of the image as in Pillow.

    The amount is the rotation in degrees, the tangent of the shear, or a fraction of the width or height. The corner is
    half a pixel away from the center of the first pixel.
    """
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    match kind:
        case "rotate":
            rotation = rotate(height, width, amount)
            return _translation(center_x, center_y) @ rotation @ _translation(-center_x, -center_y)
        case "translate_x":
            return translate(height, width, amount, 0.0)
        case "translate_y":
            return translate(height, width, 0.0, amount)
        case "shear_x":
            return affine((1.0, amount, amount / 2), (0.0, 1.0, 0.0))
        case _:
            return affine((1.0, 0.0, 0.0), (amount, 1.0, amount / 2))


def warp(pixels: Pixels, steps: Sequence[AffineStep], fill_mode: FillMode, cval: int) -> Pixels:
    """Apply affine steps in order as a single bilinear warp; without steps, return `pixels` itself.

    OpenCV 5 interpolates in floating point and rounds the exact value. OpenCV 4 rounds coordinates to 1/32 pixel, which
    changes noise by up to 5 intensity levels.
    """
    if not steps:
        return pixels
    import cv2
    import numpy as np

    height, width, _ = pixels.shape
    matrix, flags = source_matrix(steps, height, width), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    border = {"borderMode": getattr(cv2, _BORDERS[fill_mode]), "borderValue": (cval, cval, cval, cval)}

    def warp_channels(part: Pixels) -> Pixels:
        warped: Pixels = cv2.warpAffine(part, matrix, (width, height), flags=flags, **border)
        return warped.reshape(part.shape)  # OpenCV drops the axis of a single channel

    channels = pixels.shape[-1]
    if channels in WARPED_TOGETHER:
        return warp_channels(pixels)
    ends = [*range(3, channels, 3), *range(channels - channels % 3 + 1, channels)]
    parts = np.split(pixels, sorted(ends), axis=-1)
    return np.concatenate([warp_channels(np.ascontiguousarray(part)) for part in parts], axis=-1)


def source_matrix(steps: Sequence[AffineStep], height: int, width: int) -> Matrix:
    """Return the (2, 3) matrix from the center (x, y, 1) of a pixel in the view to (x, y) in the image.

    The order of the multiplications determines the last bits of views, which must not change: from the right up to the
    first move of RandAugment, then from the left.
    """
    import numpy as np

    first_move = next((n for n, step in enumerate(steps) if step.origin == "corner"), len(steps))
    before, after = (_factors(part, height, width) for part in (steps[:first_move], steps[first_move:]))
    product = reduce(lambda product, factor: factor @ product, reversed(list(before)), np.eye(3))
    return reduce(np.matmul, after, product)[:2]


def _factors(steps: Sequence[AffineStep], height: int, width: int) -> Iterator[Matrix]:
    """Yield the matrices of the steps, with translations around those that are about the center."""
    x, y = (width - 1) / 2, (height - 1) / 2
    for origin, group in groupby(steps, key=lambda step: step.origin):
        matrices = [step.matrix(height, width) for step in group]
        yield from [_translation(x, y), *matrices, _translation(-x, -y)] if origin == "center" else matrices


def affine(first: tuple[float, float, float], second: tuple[float, float, float]) -> Matrix:
    """Return the 3×3 affine matrix with these rows."""
    import numpy as np

    return np.array((first, second, (0.0, 0.0, 1.0)))


def _translation(x: float, y: float) -> Matrix:
    """Return the matrix that adds (x, y)."""
    return affine((1.0, 0.0, x), (0.0, 1.0, y))
