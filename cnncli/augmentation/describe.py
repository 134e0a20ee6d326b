"""The settings of augmentation in words: what they do, and what they do not although it seems so."""

from __future__ import annotations

import numpy as np

from cnncli.augmentation.pipeline import zoom_limits
from cnncli.augmentation.settings import AugmentationConfig

Limits = tuple[float, float]


def describe(settings: AugmentationConfig) -> tuple[str, ...]:
    """The operations that are switched on, in words.

    >>> " · ".join(describe(AugmentationConfig(rotation_range=40, zoom_range=0.2, horizontal_flip=True)))
    'rotation ±40° · zoom 0.8–1.2 · horizontal flip · fill nearest'
    """
    words = [*_moving(settings), *_coloring(settings), *_covering(settings)]
    return tuple(word for word in words if word)


def augmentation_notes(settings: AugmentationConfig) -> tuple[str, ...]:
    """What in these settings does something else than it seems, a sentence each; mostly none."""
    return (*_unit_notes(settings), *_range_notes(settings), *_scale_notes(settings), *_view_notes(settings))


def _moving(settings: AugmentationConfig) -> list[str]:
    crop = settings.random_resized_crop
    return [
        f"crop {_share(crop.scale)} of the area, shape {_span(crop.ratio)}" if crop else "",
        f"rotation ±{settings.rotation_range:g}°" if settings.rotation_range else "",
        f"width shift ±{100 * settings.width_shift_range:g} %" if settings.width_shift_range else "",
        f"height shift ±{100 * settings.height_shift_range:g} %" if settings.height_shift_range else "",
        f"shear ±{settings.shear_range:g}°" if settings.shear_range else "",
        _factor("zoom", zoom_limits(settings)),
        "horizontal flip" if settings.horizontal_flip else "",
        "vertical flip" if settings.vertical_flip else "",
    ]


def _coloring(settings: AugmentationConfig) -> list[str]:
    return [
        _factor("contrast", settings.contrast_range),
        f"channel shift ±{settings.channel_shift_range:g}" if settings.channel_shift_range else "",
        _factor("brightness", settings.brightness_range),
        _factor("saturation", settings.saturation_range),
        f"hue ±{settings.hue_range:g} of the circle" if settings.hue_range else "",
    ]


def _covering(settings: AugmentationConfig) -> list[str]:
    policy, erasing = settings.rand_augment, settings.random_erasing
    return [
        f"RandAugment {policy.num_ops} × magnitude {policy.magnitude:g}" if policy else "",
        f"noise {settings.noise_stddev:g}" if settings.noise_stddev else "",
        f"erasing {_share(erasing.scale)} of the area, {100 * erasing.probability:g} % of the time" if erasing else "",
        f"fill {settings.fill_mode}" + (f" {settings.cval}" if settings.fill_mode == "constant" else ""),
    ]


def _factor(name: str, limits: Limits | None) -> str:
    return f"{name} {_span(limits)}" if limits and limits != (1.0, 1.0) else ""


def _span(limits: Limits) -> str:
    return f"{limits[0]:.3g}–{limits[1]:.3g}"


def _share(limits: Limits) -> str:
    return f"{100 * limits[0]:.3g}–{100 * limits[1]:.3g} %"


def _unit_notes(settings: AugmentationConfig) -> list[str]:
    """Angles and gray levels that look like fractions or radians."""
    shear, rotation = settings.shear_range, settings.rotation_range
    shift, noise = settings.channel_shift_range, settings.noise_stddev
    doubtful = {
        "shear_range": (shear, "degrees, as in Keras,", "radians", np.rad2deg(shear)),
        "rotation_range": (rotation, "degrees", "a fraction of a full turn", 360 * rotation),
        "channel_shift_range": (shift, "gray levels", "a fraction of their range", 255 * shift),
        "noise_stddev": (noise, "gray levels", "a fraction of their range", 255 * noise),
    }
    return [
        f"augmentation.{name}: {value:g} means {unit} and is almost nothing "
        f"(as {reading} it would be {name}: {float(f'{meant:.2g}'):g})."
        for name, (value, unit, reading, meant) in doubtful.items()
        if 0 < value < 1
    ]


def _range_notes(settings: AugmentationConfig) -> list[str]:
    """Ranges of factors in which 1, no change, does not lie."""
    ranges = {
        "zoom_range": zoom_limits(settings),
        "contrast_range": settings.contrast_range or (1.0, 1.0),
        "brightness_range": settings.brightness_range or (1.0, 1.0),
        "saturation_range": settings.saturation_range or (1.0, 1.0),
    }
    return [
        f"augmentation.{name}: [{lowest:g}, {highest:g}] holds factors, and 1 (no change) is not among them."
        for name, (lowest, highest) in ranges.items()
        if not lowest <= 1.0 <= highest
    ]


def _scale_notes(settings: AugmentationConfig) -> list[str]:
    """Two operations that both change the scale."""
    if settings.random_resized_crop is None or zoom_limits(settings) == (1.0, 1.0):
        return []
    return ["augmentation: random_resized_crop and zoom_range both scale the image; their factors are multiplied."]


def _view_notes(settings: AugmentationConfig) -> list[str]:
    """Operations that nobody will see."""
    if not settings.is_active or settings.views != 1:
        return []
    return ["augmentation.views: 1 is the image itself, so no augmentation is seen; take views: 2 or more, or fresh."]
