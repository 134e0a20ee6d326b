"""RandAugment (Cubuk et al. 2019, arXiv 1909.13719): a few of 14 operations, drawn for each view.

The operations and their largest strengths are those of the paper, which took them from AutoAugment (arXiv 1805.09501).
The strength grows with the magnitude from 0, with a random sign, as in torchvision. Geometric operations become part of
the one warp of the view; those on intensity and color follow after it, each in the order drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import Field

from cnncli.augmentation.color import ScaleBrightness, ScaleContrast, ScaleSaturation
from cnncli.augmentation.geometry import Move, MoveKind
from cnncli.augmentation.operation import Operation, Pixels, PixelStep, ViewRandom
from cnncli.catalogue.settings import Settings

ChangeKind = Literal[
    "identity", "autocontrast", "equalize", "solarize", "posterize", "color", "contrast", "brightness", "sharpness"
]
MOVES: Mapping[MoveKind, float] = {
    "rotate": 30.0,  # degrees
    "shear_x": 0.3,
    "shear_y": 0.3,
    "translate_x": 150 / 331,  # 150 pixels of the 331 for which AutoAugment was searched
    "translate_y": 150 / 331,
}
"""Geometric operations with their largest amounts."""
CHANGES: tuple[ChangeKind, ...] = get_args(ChangeKind)
"""Operations on intensity and color."""
CHOICES = (*MOVES, *CHANGES)
"""All operations to draw from."""
LARGEST_MAGNITUDE = 10.0


class RandAugmentConfig(Settings):
    """RandAugment: a few of 14 operations, drawn with replacement, with the same strength (Cubuk et al. 2019)."""

    num_ops: int = Field(default=2, ge=1)
    """Number of operations per view; one of the 14 is the identity."""
    magnitude: float = Field(default=9.0, ge=0.0, le=10.0)
    """Strength on the scale of the paper: 10 is ±30°, shear ±0.3, shift ±45 %, factors 1 ± 0.9, posterize to 4 bits.
    (torchvision counts to 30: its 9 is 3 here.)"""


class RandAugment(Operation):
    """RandAugment."""

    rand_augment: RandAugmentConfig | None = None
    """RandAugment, after the operations above and before noise and erasing; {}: 2 operations of magnitude 9."""

    def draw(self, random: ViewRandom) -> Sequence[Move | Change]:
        """Draw the operations with their signs, without those that change nothing."""
        policy = self.rand_augment
        if policy is None:
            return ()
        steps: list[Move | Change] = []
        for choice, sign in random.stream("rand_augment").random((policy.num_ops, 2)).tolist():
            drawn = CHOICES[int(choice * len(CHOICES))]
            strength = policy.magnitude / LARGEST_MAGNITUDE * (1.0 if sign < 0.5 else -1.0)
            steps += [Move(kind, largest * strength) for kind, largest in MOVES.items() if kind == drawn and strength]
            steps += [Change(kind, strength) for kind in CHANGES if kind == drawn != "identity"]
        return steps

    def describe(self) -> str:
        """Describe number and magnitude."""
        policy = self.rand_augment
        return f"RandAugment {policy.num_ops} × magnitude {policy.magnitude:g}" if policy else ""


@dataclass(frozen=True)
class Change(PixelStep):
    """Operation on intensity or color.

    Attributes:
        kind: The operation.
        strength: -1 to 1; the sign counts only for factors, which a negative one reduces.
    """

    kind: ChangeKind
    strength: float

    def apply(self, pixels: Pixels) -> Pixels:
        """Return the changed image."""
        from cnncli.augmentation import intensity

        strength, factor = abs(self.strength), 1.0 + 0.9 * self.strength
        match self.kind:
            case "autocontrast":
                return intensity.autocontrast(pixels)
            case "equalize":
                return intensity.equalize(pixels)
            case "solarize":
                return intensity.solarize(pixels, 256.0 * (1.0 - strength))
            case "posterize":
                return intensity.posterize(pixels, 8 - round(4 * strength))
            case "color":
                return ScaleSaturation(factor).apply(pixels)
            case "contrast":
                return intensity.apply_tables(pixels, [ScaleContrast(factor)])
            case "brightness":
                return intensity.apply_tables(pixels, [ScaleBrightness(factor)])
            case "sharpness":
                return intensity.sharpen(pixels, factor)
            case "identity":
                return pixels
