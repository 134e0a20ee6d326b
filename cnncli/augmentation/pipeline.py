"""Random renderings of an image: parameters drawn by key, then one warp, tables of gray values, color, and the rest.

The order is the same whatever is switched on: crop, rotation, shift, shear, zoom, flips and RandAugment's moves, all as
one warp; contrast, channel shifts and brightness as one table; saturation and hue; RandAugment's other operations;
noise; erasing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.chroma import Chroma, recolor
from cnncli.augmentation.geometry import Geometry, Move, warp
from cnncli.augmentation.noise import Noise, add_noise
from cnncli.augmentation.rand_augment import Change, change, draw_operations
from cnncli.augmentation.random_erasing import Erasing, erase
from cnncli.augmentation.random_rect import WHOLE, Part, draw_part, largest_part
from cnncli.augmentation.settings import AugmentationConfig
from cnncli.augmentation.tone import Tone, adjust
from cnncli.runtime.random_keys import generator

Key = tuple[str | int, ...]

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
    "saturation",
    "hue",
    "red_shift",
    "green_shift",
    "blue_shift",
)
"""One uniform number each, always all of them in this order: what one operation draws does not depend on which others
are switched on. A new operation is appended, or draws from a generator of its own, so that the old ones keep their
draws."""


@dataclass(frozen=True)
class Parameters:
    """Everything that makes one rendering, whatever the image's size; the defaults do nothing."""

    geometry: Geometry = field(default_factory=Geometry)
    tone: Tone = field(default_factory=Tone)
    chroma: Chroma = field(default_factory=Chroma)
    changes: tuple[Change, ...] = ()
    noise: Noise = field(default_factory=Noise)
    erasing: Erasing | None = None


def render(pixels: NDArray[np.uint8], settings: AugmentationConfig, *key: str | int) -> NDArray[np.uint8]:
    """One random rendering of an image, the same for the same key.

    Args:
        pixels: uint8 (height, width, channels), one channel or three.
        settings: the operations and their ranges; with none of them, `pixels` itself comes back.
        key: words that say what the rendering is for, such as ("view", 0, digest, 2).
    Returns: uint8, same shape.
    """
    return apply(pixels, draw(settings, *key), settings) if settings.is_active else pixels


def draw(settings: AugmentationConfig, *key: str | int) -> Parameters:
    """The parameters of one rendering: uniform in the ranges of the settings."""
    unit = dict(zip(_DRAWS, generator(*key).random(len(_DRAWS)).tolist(), strict=True))
    moves, changes = _rand_augment(settings, key)
    shift = settings.channel_shift_range
    return Parameters(
        geometry=_geometry(settings, unit, _crop(settings, key), moves),
        tone=Tone(
            contrast=_between(settings.contrast_range or (1.0, 1.0), unit["contrast"]),
            brightness=_between(settings.brightness_range or (1.0, 1.0), unit["brightness"]),
            channel_shifts=(
                _plus_minus(shift, unit["red_shift"]),
                _plus_minus(shift, unit["green_shift"]),
                _plus_minus(shift, unit["blue_shift"]),
            ),
        ),
        chroma=Chroma(
            saturation=_between(settings.saturation_range or (1.0, 1.0), unit["saturation"]),
            hue=_plus_minus(settings.hue_range, unit["hue"]),
        ),
        changes=changes,
        noise=Noise(settings.noise_stddev, ("noise", *key)) if settings.noise_stddev else Noise(),
        erasing=_erasing(settings, key),
    )


def apply(pixels: NDArray[np.uint8], parameters: Parameters, settings: AugmentationConfig) -> NDArray[np.uint8]:
    """An image rendered with these parameters; of the settings only `fill_mode` and `cval` count."""
    pixels = warp(pixels, parameters.geometry, settings.fill_mode, settings.cval)
    pixels = recolor(adjust(pixels, parameters.tone), parameters.chroma)
    pixels = add_noise(change(pixels, parameters.changes), parameters.noise)
    return erase(pixels, parameters.erasing)


def zoom_limits(settings: AugmentationConfig) -> tuple[float, float]:
    """Lowest and highest zoom factor, however they were written."""
    zoom = settings.zoom_range
    return zoom if isinstance(zoom, tuple) else (1.0 - zoom, 1.0 + zoom)


def _geometry(settings: AugmentationConfig, unit: dict[str, float], crop: Part, moves: tuple[Move, ...]) -> Geometry:
    zoom = zoom_limits(settings)
    return Geometry(
        rotation_degrees=_plus_minus(settings.rotation_range, unit["rotation"]),
        width_shift=_plus_minus(settings.width_shift_range, unit["width_shift"]),
        height_shift=_plus_minus(settings.height_shift_range, unit["height_shift"]),
        shear_degrees=_plus_minus(settings.shear_range, unit["shear"]),
        zoom_x=_between(zoom, unit["zoom_x"]),
        zoom_y=_between(zoom, unit["zoom_y"]),
        horizontal_flip=settings.horizontal_flip and unit["horizontal_flip"] < 0.5,
        vertical_flip=settings.vertical_flip and unit["vertical_flip"] < 0.5,
        crop=crop,
        moves=moves,
    )


def _crop(settings: AugmentationConfig, key: Key) -> Part:
    crop = settings.random_resized_crop
    if crop is None:
        return WHOLE
    return draw_part(generator("random_resized_crop", *key), crop.scale, crop.ratio) or largest_part(crop.ratio)


def _rand_augment(settings: AugmentationConfig, key: Key) -> tuple[tuple[Move, ...], tuple[Change, ...]]:
    if settings.rand_augment is None:
        return (), ()
    return draw_operations(settings.rand_augment, generator("rand_augment", *key))


def _erasing(settings: AugmentationConfig, key: Key) -> Erasing | None:
    erasing = settings.random_erasing
    if erasing is None:
        return None
    random = generator("random_erasing", *key)
    is_wanted = random.random() < erasing.probability
    part = draw_part(random, erasing.scale, erasing.ratio)
    return Erasing(part, erasing.value, ("erased", *key)) if is_wanted and part else None


def _plus_minus(limit: float, unit: float) -> float:
    """A number of [0, 1) stretched over ± `limit`; exactly 0 for 0."""
    return limit * (2.0 * unit - 1.0) if limit else 0.0


def _between(limits: tuple[float, float], unit: float) -> float:
    """A number of [0, 1) stretched over [lowest, highest]."""
    lowest, highest = limits
    return lowest + (highest - lowest) * unit
