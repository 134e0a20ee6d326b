"""Base classes of augmentation: an operation holds settings and draws the steps of a view.

The settings are part of the config, which is read before NumPy is imported, so operations import NumPy in functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, ClassVar, Concatenate, Literal, NamedTuple, ParamSpec, TypeAlias

from cnncli.catalogue.settings import Range, Settings
from cnncli.errors import Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

P = ParamSpec("P")
Key = tuple[str | int, ...]
Matrix: TypeAlias = "NDArray[np.float64]"
Pixels: TypeAlias = "NDArray[np.uint8]"
"""Pixels of an image, shape (height, width, channels). The last of four channels is alpha, or counts as such."""

_SHARED_NUMBERS = (
    *("rotation", "width_shift", "height_shift", "shear", "zoom_x", "zoom_y", "horizontal_flip", "vertical_flip"),
    *("contrast", "brightness", "saturation", "hue", "red_shift", "green_shift", "blue_shift"),
)
"""Names of the numbers of the stream that the first operations share, in the order of the stream. All of them are
always drawn, so that what an operation draws does not depend on which others are active."""


class ViewRandom:
    """Random numbers of a view, a pure function of its key, such as ("view", 0, digest, 2).

    `shared` maps the names of the first operations to numbers in [0, 1) from one stream that they share.
    """

    def __init__(self, key: Key) -> None:
        self.key = key
        numbers = self.stream().random(len(_SHARED_NUMBERS)).tolist()
        self.shared: dict[str, float] = dict(zip(_SHARED_NUMBERS, numbers, strict=True))

    def plus_minus(self, name: str, limit: float) -> float:
        """Scale the shared number `name` to ±`limit`; the result is exactly 0 if `limit` is 0."""
        return limit * (2.0 * self.shared[name] - 1.0) if limit else 0.0

    def stream(self, *name: str) -> np.random.Generator:
        """Return the random stream of an operation, named after its setting."""
        from cnncli.runtime.random_keys import generator

        return generator(*name, *self.key)


@dataclass(frozen=True)
class AffineStep:
    """Step that moves pixels. All affine steps of a view are composed into one warp, which precedes its other steps."""

    matrix: Callable[[int, int], Matrix]
    origin: Literal["center", "first pixel", "corner"] = "first pixel"


PixelStep: TypeAlias = "Callable[[Pixels], Pixels]"
"""Any other step: a function to another image of the same shape. It does not write to the given pixels."""
Step: TypeAlias = "AffineStep | PixelStep"


class Unit(NamedTuple):
    """Unit of a setting, a unit it is often confused with (values below 1), and the factor between the two."""

    name: str
    mistaken_for: str
    factor: float


LEVELS = Unit("intensity levels (0–255)", "a fraction of the range", 255)


class Operation(Settings, ABC):
    """Augmentation operation. Its fields are settings of the group `augmentation`; with the defaults it is off."""

    description: ClassVar[str]
    """Short description with the settings in braces, such as `rotation ±{rotation_range:g}°`."""
    unit: ClassVar[Unit | None] = None
    """Unit of the only setting, if it is often mistaken for another."""

    @property
    def is_active(self) -> bool:
        """Whether any setting differs from its default."""
        return any(getattr(self, name) != field.default for name, field in type(self).model_fields.items())

    @abstractmethod
    def draw(self, random: ViewRandom) -> Sequence[Step]:
        """Return the steps of a view in order; empty if the view is not changed."""

    def describe(self) -> str:
        """Return a short description of the active operation and its range, or "" if it changes nothing."""
        return self.description.format_map(dict(self))

    def notes(self) -> Sequence[Message]:
        """Return warnings about settings that are probably unintended."""
        (setting, value), *_ = self
        if self.unit is None or not 0 < value < 1:
            return ()
        name, mistaken_for, factor = self.unit
        key, meant = f"augmentation.{setting}", float(f"{factor * value:.2g}")
        text = f"{key}: {value:g} is in {name}, which is almost nothing"
        remedy = f"if you meant {mistaken_for}, use {setting}: {meant:g}."
        return (Message("augmentation-unit", f"{text}; {remedy}", key=key, received=value, expected=meant),)


class FactorOperation(Operation):
    """Operation with one setting, `NAME_range`: the lowest and highest factor, where 1 means no change."""

    @property
    def limits(self) -> Range:
        """Lowest and highest factor."""
        ((_, limits),) = self
        return limits or (1.0, 1.0)

    def factor(self, number: float) -> float:
        """Scale a number in [0, 1) to the limits."""
        lowest, highest = self.limits
        return lowest + (highest - lowest) * number

    def describe(self) -> str:
        """Describe the limits."""
        (setting,) = type(self).model_fields
        return f"{setting.removesuffix('_range')} {span(self.limits)}" if self.limits != (1.0, 1.0) else ""

    def notes(self) -> Sequence[Message]:
        """Warn of limits that exclude 1, since every view is then changed."""
        lowest, highest = self.limits
        if lowest <= 1.0 <= highest:
            return ()
        (setting,) = type(self).model_fields
        key = f"augmentation.{setting}"
        text = f"{key}: [{lowest:g}, {highest:g}] does not include 1 (no change), so no view equals the image."
        return (Message("augmentation-factor", text, key=key, received=self.limits),)


def except_alpha(change: Callable[Concatenate[Pixels, P], Pixels]) -> Callable[Concatenate[Pixels, P], Pixels]:
    """Decorate a function of pixels so that it does not change the last of four channels."""

    @wraps(change)
    def change_colors(pixels: Pixels, /, *args: P.args, **kwargs: P.kwargs) -> Pixels:
        if pixels.shape[-1] != 4:
            return change(pixels, *args, **kwargs)
        changed = pixels.copy()
        changed[..., :3] = change(pixels[..., :3].copy(), *args, **kwargs)
        return changed

    return change_colors


def span(limits: tuple[float, float]) -> str:
    """Format limits, such as `0.8–1.2`."""
    return f"{limits[0]:.3g}–{limits[1]:.3g}"
