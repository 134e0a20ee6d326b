"""Random renderings of a picture: parameters drawn by key, then one warp and one table of grey values."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cnncli.config.schema import AugmentationConfig
from cnncli.keyed import generator
from cnncli.pictures.geometry import Geometry, warp
from cnncli.pictures.tone import Tone, adjust

_DRAWS = (
    "rotation",
    "width_shift",
    "height_shift",
    "shear",
    "zoom_x",
    "zoom_y",
    "horizontal_flip",
    "vertical_flip",
    "contrast",
    "brightness",
)
"""One uniform number each, always all of them in this order: what one operation draws does not depend on which others
are switched on. A new operation is appended, so that the old ones keep their draws."""


@dataclass(frozen=True)
class Parameters:
    """Everything that makes one rendering, whatever the picture's size; the defaults do nothing."""

    geometry: Geometry = field(default_factory=Geometry)
    tone: Tone = field(default_factory=Tone)


def render(pixels: NDArray[np.uint8], settings: AugmentationConfig, *key: str | int) -> NDArray[np.uint8]:
    """One random rendering of a picture, the same for the same key.

    Args:
        pixels: uint8 (height, width, channels), one channel or three.
        settings: the operations and their ranges; with none of them, `pixels` itself comes back.
        key: words that say what the rendering is for, such as ("view", 0, digest, 2).
    Returns: uint8, same shape.
    """
    return apply(pixels, draw(settings, *key), settings) if settings.is_active else pixels


def draw(settings: AugmentationConfig, *key: str | int) -> Parameters:
    """The parameters of one rendering: uniform in the ranges of Keras's ImageDataGenerator."""
    unit = dict(zip(_DRAWS, generator(*key).random(len(_DRAWS)).tolist(), strict=True))
    zoom = _zoom_limits(settings)
    return Parameters(
        geometry=Geometry(
            rotation_degrees=_plus_minus(settings.rotation_range, unit["rotation"]),
            width_shift=_plus_minus(settings.width_shift_range, unit["width_shift"]),
            height_shift=_plus_minus(settings.height_shift_range, unit["height_shift"]),
            shear_degrees=_plus_minus(settings.shear_range, unit["shear"]),
            zoom_x=_between(zoom, unit["zoom_x"]),
            zoom_y=_between(zoom, unit["zoom_y"]),
            horizontal_flip=settings.horizontal_flip and unit["horizontal_flip"] < 0.5,
            vertical_flip=settings.vertical_flip and unit["vertical_flip"] < 0.5,
        ),
        tone=Tone(
            contrast=_between(settings.contrast_range or (1.0, 1.0), unit["contrast"]),
            brightness=_between(settings.brightness_range or (1.0, 1.0), unit["brightness"]),
        ),
    )


def apply(pixels: NDArray[np.uint8], parameters: Parameters, settings: AugmentationConfig) -> NDArray[np.uint8]:
    """A picture rendered with these parameters; of the settings only `fill_mode` and `cval` count."""
    return adjust(warp(pixels, parameters.geometry, settings.fill_mode, settings.cval), parameters.tone)


def describe(settings: AugmentationConfig) -> str:
    """The operations that are switched on, in words.

    >>> describe(AugmentationConfig(rotation_range=40, zoom_range=0.2, horizontal_flip=True, fill_mode="reflect"))
    'rotation ±40° · zoom 0.8–1.2 · horizontal flip · fill reflect'
    """
    ranges = {
        "zoom": _zoom_limits(settings),
        "contrast": settings.contrast_range,
        "brightness": settings.brightness_range,
    }
    words = [
        f"rotation ±{settings.rotation_range:g}°" if settings.rotation_range else "",
        f"width shift ±{100 * settings.width_shift_range:g} %" if settings.width_shift_range else "",
        f"height shift ±{100 * settings.height_shift_range:g} %" if settings.height_shift_range else "",
        f"shear ±{settings.shear_range:g}°" if settings.shear_range else "",
        *(f"{name} {limits[0]:g}–{limits[1]:g}" for name, limits in ranges.items() if limits and limits != (1.0, 1.0)),
        "horizontal flip" if settings.horizontal_flip else "",
        "vertical flip" if settings.vertical_flip else "",
        f"fill {settings.fill_mode}" + (f" {settings.cval}" if settings.fill_mode == "constant" else ""),
    ]
    return " · ".join(word for word in words if word)


def augmentation_notes(settings: AugmentationConfig) -> tuple[str, ...]:
    """What in these settings does something else than it seems, a sentence each; mostly none."""
    return (*_unit_notes(settings), *_range_notes(settings), *_view_notes(settings))


def _plus_minus(limit: float, unit: float) -> float:
    """A number of [0, 1) stretched over ± `limit`; exactly 0 for 0."""
    return limit * (2.0 * unit - 1.0) if limit else 0.0


def _between(limits: tuple[float, float], unit: float) -> float:
    """A number of [0, 1) stretched over [lowest, highest]."""
    lowest, highest = limits
    return lowest + (highest - lowest) * unit


def _zoom_limits(settings: AugmentationConfig) -> tuple[float, float]:
    """Lowest and highest zoom factor, however they were written."""
    zoom = settings.zoom_range
    return zoom if isinstance(zoom, tuple) else (1.0 - zoom, 1.0 + zoom)


def _unit_notes(settings: AugmentationConfig) -> list[str]:
    """Angles that look like fractions or radians."""
    notes = []
    if 0 < settings.shear_range < 1:
        notes.append(
            f"augmentation.shear_range: {settings.shear_range:g} means degrees, as in Keras, and is almost nothing "
            f"(as radians it would be shear_range: {np.rad2deg(settings.shear_range):.2g})."
        )
    if 0 < settings.rotation_range < 1:
        notes.append(
            f"augmentation.rotation_range: {settings.rotation_range:g} means degrees and is almost nothing "
            f"(as a fraction of a full turn it would be rotation_range: {360 * settings.rotation_range:g})."
        )
    return notes


def _range_notes(settings: AugmentationConfig) -> list[str]:
    """Ranges of factors in which 1, no change, does not lie."""
    ranges = {
        "zoom_range": _zoom_limits(settings),
        "contrast_range": settings.contrast_range or (1.0, 1.0),
        "brightness_range": settings.brightness_range or (1.0, 1.0),
    }
    return [
        f"augmentation.{name}: [{lowest:g}, {highest:g}] holds factors, and 1 (no change) is not among them."
        for name, (lowest, highest) in ranges.items()
        if not lowest <= 1.0 <= highest
    ]


def _view_notes(settings: AugmentationConfig) -> list[str]:
    """Operations that nobody will see."""
    if not settings.is_active or settings.views != 1:
        return []
    return ["augmentation.views: 1 is the picture itself, so no augmentation is seen; take views: 2 or more, or fresh."]
