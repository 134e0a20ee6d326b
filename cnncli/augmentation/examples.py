"""One image under each operation by name, for a sheet that shows what the operations do.

Flips, rotations, shears and lens distortions have a fixed strength; the others are drawn with a seed from the ranges
below.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from cnncli.augmentation.geometry import mirror, rotate, scale, shear_columns, translate, warp
from cnncli.augmentation.operation import AffineStep, Pixels
from cnncli.augmentation.settings import AugmentationConfig
from cnncli.augmentation.views import render
from cnncli.augmentation.warps import distort

_COLOR = {
    "brightness_range": (0.6, 1.4),
    "contrast_range": (0.6, 1.4),
    "saturation_range": (0.4, 1.6),
    "hue_range": 0.06,
}
_CROP = {"random_resized_crop": {"scale": (0.3, 0.7)}}
_TURN_DEGREES, _SHEAR_DEGREES, _LENS = 20.0, 20.0, 0.3


def examples(pixels: Pixels, seed: int) -> Iterator[tuple[str, Pixels]]:
    """Yield the name of each operation and the changed image, uint8 of the same shape; the image itself comes first."""
    side = max(pixels.shape[:2])
    yield "original", pixels
    for name, across, down in (("horizontal flip", 1, 0), ("vertical flip", 0, 1), ("both flips", 1, 1)):
        yield name, _warp(pixels, partial(mirror, horizontal=bool(across), vertical=bool(down)), "first pixel")
    yield "rotate left", _warp(pixels, partial(rotate, degrees=_TURN_DEGREES))
    yield "rotate right", _warp(pixels, partial(rotate, degrees=-_TURN_DEGREES))
    for k in range(1, 5):
        yield f"color {k}", _drawn(pixels, f"color {k}", seed, _COLOR)
    yield "noise 1", _drawn(pixels, "noise 1", seed, {"noise_stddev": 12.0})
    yield "noise 2", _drawn(pixels, "noise 2", seed, {"noise_stddev": 40.0})
    yield "crop 1", _drawn(pixels, "crop 1", seed, _CROP)
    yield "crop 2", _drawn(pixels, "crop 2", seed, _CROP)
    yield "scale 1", _warp(pixels, partial(scale, x=1 / 1.4, y=1 / 1.4))
    yield "scale 2", _warp(pixels, partial(scale, x=1 / 0.7, y=1 / 0.7))
    yield "stretch", _warp(pixels, partial(scale, x=1 / 1.4, y=1.0))
    yield "shift", _warp(pixels, partial(translate, x=0.2, y=-0.1))
    yield "shear", _warp(pixels, partial(shear_columns, degrees=_SHEAR_DEGREES))
    yield "barrel lens", distort(pixels, _LENS)
    yield "pincushion", distort(pixels, -_LENS)
    yield "elastic warp", _drawn(pixels, "elastic", seed, {"elastic_warp": {"alpha": 1.5 * side, "sigma": side / 14}})
    yield "PCA color", _drawn(pixels, "pca", seed, {"pca_jitter": 0.5})
    yield "channel shift", _drawn(pixels, "channels", seed, {"channel_shift_range": 60.0})
    yield "policy 1", _drawn(pixels, "policy 1", seed, {"rand_augment": {}})
    yield "policy 2", _drawn(pixels, "policy 2", seed, {"rand_augment": {}})
    yield "erasing", _drawn(pixels, "erasing", seed, {"random_erasing": {"probability": 1.0}})


def _drawn(pixels: Pixels, name: str, seed: int, settings: dict[str, Any]) -> Pixels:
    return render(pixels, AugmentationConfig.model_validate(settings), "example", seed, name)


def _warp(pixels: Pixels, matrix: Any, origin: Any = "center") -> Pixels:
    return warp(pixels, [AffineStep(matrix, origin)], "nearest", 0)
