"""RandAugment (Cubuk et al. 2019, arXiv 1909.13719): a few of 14 operations, drawn for each view.

The operations and their maximum strengths are those of the paper, which adopted them from AutoAugment (arXiv
1805.09501). The strength is proportional to the magnitude and has a random sign, as in torchvision. Geometric
operations are part of the view's warp; the others follow it in the order drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pydantic import Field

from cnncli.augmentation.color import look_up, scale_brightness, scale_contrast, scale_saturation
from cnncli.augmentation.geometry import move
from cnncli.augmentation.operation import AffineStep, Operation, Pixels, Step, ViewRandom, except_alpha
from cnncli.catalogue.settings import Settings

if TYPE_CHECKING:
    from PIL import Image

MOVES: Mapping[str, float] = {
    "rotate": 30.0,  # degrees
    "shear_x": 0.3,
    "shear_y": 0.3,
    "translate_x": 150 / 331,  # 150 pixels of the 331 for which AutoAugment was searched
    "translate_y": 150 / 331,
}
"""Geometric operations with their largest amounts."""
CHANGES = (
    *("identity", "autocontrast", "equalize", "solarize", "posterize"),
    *("color", "contrast", "brightness", "sharpness"),
)
"""Operations on intensity and color."""
CHOICES = (*MOVES, *CHANGES)
"""All operations to draw from."""
LARGEST_MAGNITUDE = 10.0


class RandAugmentConfig(Settings):
    """RandAugment: a few of 14 operations, drawn with replacement, of equal strength (Cubuk et al. 2019)."""

    num_ops: int = Field(default=2, ge=1)
    """Number of operations per view; one of the 14 is the identity."""
    magnitude: float = Field(default=9.0, ge=0.0, le=10.0)
    """Strength on the scale of the paper: 10 is ±30°, shear ±0.3, shift ±45 %, factors 1 ± 0.9, posterize to 4 bits.
    (The scale of torchvision ends at 30; its 9 is 3 here.)"""


class RandAugment(Operation):
    """RandAugment."""

    rand_augment: RandAugmentConfig | None = None
    """RandAugment, after the operations above and before noise and erasing; {}: 2 operations with magnitude 9."""
    description = "RandAugment {rand_augment.num_ops} × magnitude {rand_augment.magnitude:g}"

    def draw(self, random: ViewRandom) -> Sequence[Step]:
        """Draw the operations with their signs, except those that change nothing."""
        policy = self.rand_augment
        if policy is None:
            return ()
        steps: list[Step] = []
        for choice, sign in random.stream("rand_augment").random((policy.num_ops, 2)).tolist():
            kind = CHOICES[int(choice * len(CHOICES))]
            strength = policy.magnitude / LARGEST_MAGNITUDE * (1.0 if sign < 0.5 else -1.0)
            if kind in CHANGES[1:]:
                steps.append(partial(change, kind=kind, strength=strength))
            elif kind in MOVES and strength:
                steps.append(AffineStep(partial(move, kind=kind, amount=MOVES[kind] * strength), "corner"))
        return steps


@except_alpha
def change(pixels: Pixels, kind: str, strength: float) -> Pixels:
    """Apply one of `CHANGES` with a strength from -1 to 1; the sign matters only for factors."""
    import numpy as np
    from PIL import ImageOps

    positive, factor, levels = abs(strength), 1.0 + 0.9 * strength, np.arange(256)
    match kind:
        case "autocontrast":
            return _with_pillow(ImageOps.autocontrast, pixels)
        case "equalize":
            return _with_pillow(ImageOps.equalize, pixels)
        case "solarize":
            return look_up(pixels, np.where(levels < 256.0 * (1.0 - positive), levels, 255 - levels))
        case "posterize":
            return look_up(pixels, levels & ~(2 ** round(4 * positive) - 1))
        case "color":
            return scale_saturation(pixels, factor)
        case "contrast":
            return scale_contrast(pixels, factor)
        case "brightness":
            return scale_brightness(pixels, factor)
        case _:
            return sharpen(pixels, factor)


def sharpen(pixels: Pixels, factor: float) -> Pixels:
    """Blend an image with a smoothed copy: 0 is smooth, 1 unchanged, 2 sharp. Border pixels are unchanged.

    This is a single linear filter. It differs by at most one level from Pillow's ImageEnhance.Sharpness, which rounds
    the smoothed image before blending.
    """
    import cv2
    import numpy as np

    kernel = (1.0 - factor) * (np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13)  # Pillow's filter SMOOTH
    kernel[1, 1] += factor
    sharpened = pixels.copy()
    sharpened[1:-1, 1:-1] = cv2.filter2D(pixels, -1, kernel).reshape(pixels.shape)[1:-1, 1:-1]
    return sharpened


def _with_pillow(operation: Callable[[Image.Image], Image.Image], pixels: Pixels) -> Pixels:
    import numpy as np
    from PIL import Image

    if pixels.shape[-1] == 3:
        return np.array(operation(Image.fromarray(pixels)))
    bands = [operation(Image.fromarray(band)) for band in np.moveaxis(pixels, -1, 0).copy()]
    return np.stack([np.array(band) for band in bands], axis=-1)
