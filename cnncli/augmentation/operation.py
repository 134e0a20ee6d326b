"""Base class of the operations of augmentation, and what they draw from and return.

An operation is one module: its settings, `draw`, which chooses random parameters, and `describe`. What it draws is a
step, a frozen dataclass with the parameters of one view. Consecutive steps of two kinds are composed: `AffineStep`s
become one warp of the image, and `TableStep`s become one lookup table. Any other step has `apply`.

The settings of operations are part of the config, which is read before NumPy is imported: these modules import it only
in functions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from cnncli.catalogue.settings import Settings
from cnncli.errors import Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Key = tuple[str | int, ...]
Limits = tuple[float, float]
Matrix: TypeAlias = "NDArray[np.float64]"
Pixels: TypeAlias = "NDArray[np.uint8]"
"""Pixels of an image, shape (height, width, channels), with one channel or three."""

UNCHANGED: Limits = (1.0, 1.0)
"""Range of a factor that changes nothing."""

_SHARED_NUMBERS = (
    *("rotation", "width_shift", "height_shift", "shear", "zoom_x", "zoom_y", "horizontal_flip", "vertical_flip"),
    *("contrast", "brightness", "saturation", "hue", "red_shift", "green_shift", "blue_shift"),
)
"""Names of the numbers of the stream that the first operations share, in the order of the stream. All of them are
always drawn, so that what an operation draws does not depend on which others are active."""


class ViewRandom:
    """Random numbers of one view, as a pure function of the view's key.

    Attributes:
        key: Words that identify the view, such as ("view", 0, digest, 2).
    """

    def __init__(self, key: Key) -> None:
        self.key = key

    def stream(self, name: str) -> np.random.Generator:
        """Return the random stream of an operation. An operation has its own, named after its setting."""
        from cnncli.runtime.random_keys import generator

        return generator(name, *self.key)

    def shared(self, name: str) -> float:
        """Return a number in [0, 1) of the stream that the first operations share."""
        return self._shared[name]

    @cached_property
    def _shared(self) -> dict[str, float]:
        from cnncli.runtime.random_keys import generator

        numbers = generator(*self.key).random(len(_SHARED_NUMBERS)).tolist()
        return dict(zip(_SHARED_NUMBERS, numbers, strict=True))


class AffineStep(ABC):
    """Step that moves pixels. Consecutive ones are composed into one warp of the image."""

    about_center: ClassVar[bool] = False
    """Whether the origin of `matrix` is the center of the image instead of its first pixel."""

    @abstractmethod
    def matrix(self, height: int, width: int) -> Matrix:
        """Return the 3×3 matrix from (x, y, 1) of a pixel of the view to (x, y, 1) in the image, in pixels."""


class TableStep(ABC):
    """Step that maps each value on its own. Consecutive ones are composed into one lookup table."""

    @abstractmethod
    def table(self, pixels: Pixels) -> Pixels:
        """Return the new value of each of the 256 values, shape (256,), or (channels, 256) if channels differ.

        Args:
            pixels: The image before the first of the composed steps.
        """


class PixelStep(ABC):
    """Any other step."""

    @abstractmethod
    def apply(self, pixels: Pixels) -> Pixels:
        """Return the changed image, uint8 of the same shape. The given pixels are not written to."""


Step = AffineStep | TableStep | PixelStep


class Operation(Settings, ABC):
    """Operation of augmentation. Its fields are settings of the group `augmentation`; with the defaults it is off."""

    @property
    def is_active(self) -> bool:
        """Whether any setting differs from its default."""
        return any(getattr(self, name) != field.default for name, field in type(self).model_fields.items())

    @abstractmethod
    def draw(self, random: ViewRandom) -> Sequence[Step]:
        """Return the steps of one view, in order; empty if this view remains unchanged."""

    @abstractmethod
    def describe(self) -> str:
        """Return a short description of the active operation with its range, or "" if its range is no change."""

    def notes(self) -> Sequence[Message]:
        """Return warnings about settings that probably do not do what the user expects."""
        return ()


def plus_minus(limit: float, unit: float) -> float:
    """Scale a number in [0, 1) to ± `limit`; exactly 0 for 0."""
    return limit * (2.0 * unit - 1.0) if limit else 0.0


def between(limits: Limits, unit: float) -> float:
    """Scale a number in [0, 1) to [lowest, highest]."""
    lowest, highest = limits
    return lowest + (highest - lowest) * unit


def span(limits: Limits) -> str:
    """Return limits as text, such as `0.8–1.2`."""
    return f"{limits[0]:.3g}–{limits[1]:.3g}"


def area_span(limits: Limits) -> str:
    """Return limits of the fraction of an area as text, such as `8–100 %`."""
    return f"{100 * limits[0]:.3g}–{100 * limits[1]:.3g} %"


def describe_factor(name: str, limits: Limits) -> str:
    """Return the name and the range of a factor, or "" if it changes nothing."""
    return f"{name} {span(limits)}" if limits != UNCHANGED else ""


@dataclass(frozen=True)
class Unit:
    """Unit of a setting, and the unit that it is often mistaken for.

    Attributes:
        name: The unit.
        mistaken_for: Another unit, in which sensible values are below 1.
        factor: Multiplies a value in the other unit to convert it.
    """

    name: str
    mistaken_for: str
    factor: float


DEGREES_NOT_TURNS = Unit("degrees", "a fraction of a full turn", 360)
DEGREES_NOT_RADIANS = Unit("degrees, as in Keras", "radians", math.degrees(1.0))
LEVELS_NOT_FRACTIONS = Unit("intensity levels (0–255)", "a fraction of the range", 255)


def unit_notes(name: str, value: float, unit: Unit) -> tuple[Message, ...]:
    """Return a warning if a value is so small that the user probably thought of another unit."""
    if not 0 < value < 1:
        return ()
    key, meant = f"augmentation.{name}", float(f"{unit.factor * value:.2g}")
    text = (
        f"{key}: {value:g} is in {unit.name}, which is almost nothing; if you meant {unit.mistaken_for}, "
        f"use {name}: {meant:g}."
    )
    return (Message("augmentation-unit", text, key=key, received=value, expected=meant),)


def factor_notes(name: str, limits: Limits) -> tuple[Message, ...]:
    """Return a warning if the range of a factor does not contain 1, so that every view is changed."""
    if limits[0] <= 1.0 <= limits[1]:
        return ()
    key = f"augmentation.{name}"
    text = f"{key}: [{limits[0]:g}, {limits[1]:g}] is a range of factors without 1 (no change)."
    return (Message("augmentation-factor", text, key=key, received=limits),)
