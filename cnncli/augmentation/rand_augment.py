"""RandAugment (Cubuk et al. 2019, arXiv 1909.13719): a few of 14 operations, drawn anew for each rendering.

The operations and their largest strengths are the paper's, which took them from AutoAugment (arXiv 1805.09501), and a
strength grows with the magnitude from nothing, its sign drawn, as in torchvision. What moves pixels becomes part of
the rendering's one warp, in the order drawn; what changes their values follows after it, in the order drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.chroma import Chroma, recolor
from cnncli.augmentation.enhance import autocontrast, equalize, posterize, sharpen, solarize
from cnncli.augmentation.geometry import Move, MoveKind
from cnncli.augmentation.settings import RandAugmentConfig
from cnncli.augmentation.tone import Tone, adjust

ChangeKind = Literal[
    "identity", "autocontrast", "equalize", "solarize", "posterize", "color", "contrast", "brightness", "sharpness"
]
MOVES: Mapping[MoveKind, float] = {
    "rotate": 30.0,  # degrees
    "shear_x": 0.3,
    "shear_y": 0.3,
    "translate_x": 150 / 331,  # 150 pixels of the 331 that AutoAugment was found on
    "translate_y": 150 / 331,
}
"""What moves pixels, with its largest amount."""
CHANGES: tuple[ChangeKind, ...] = get_args(ChangeKind)
"""What changes their values."""
OPERATIONS = (*MOVES, *CHANGES)
"""All that is drawn from."""
LARGEST_MAGNITUDE = 10.0


@dataclass(frozen=True)
class Change:
    """One operation on the values of the pixels.

    Attributes:
        kind: which.
        strength: -1 to 1; the sign counts for factors alone, where a negative one takes away.
    """

    kind: ChangeKind
    strength: float


def draw_operations(
    settings: RandAugmentConfig, random: np.random.Generator
) -> tuple[tuple[Move, ...], tuple[Change, ...]]:
    """The operations of one rendering, those that do nothing left out: what moves pixels, and what changes them."""
    moves: list[Move] = []
    changes: list[Change] = []
    for choice, sign in random.random((settings.num_ops, 2)).tolist():
        drawn = OPERATIONS[int(choice * len(OPERATIONS))]
        strength = settings.magnitude / LARGEST_MAGNITUDE * (1.0 if sign < 0.5 else -1.0)
        moves += [Move(kind, most * strength) for kind, most in MOVES.items() if kind == drawn and strength]
        changes += [Change(kind, strength) for kind in CHANGES if kind == drawn != "identity"]
    return tuple(moves), tuple(changes)


def change(pixels: NDArray[np.uint8], changes: tuple[Change, ...]) -> NDArray[np.uint8]:
    """An image after operations on its values, one after the other.

    Args:
        pixels: uint8 (height, width, channels), one channel or three.
        changes: what to do; none returns `pixels` itself.
    Returns: uint8, same shape.
    """
    for one in changes:
        pixels = _CHANGES[one.kind](pixels, one.strength)
    return pixels


_CHANGES: Mapping[ChangeKind, Callable[[NDArray[np.uint8], float], NDArray[np.uint8]]] = {
    "identity": lambda pixels, _: pixels,
    "autocontrast": lambda pixels, _: autocontrast(pixels),
    "equalize": lambda pixels, _: equalize(pixels),
    "solarize": lambda pixels, strength: solarize(pixels, 256.0 * (1.0 - abs(strength))),
    "posterize": lambda pixels, strength: posterize(pixels, 8 - round(4 * abs(strength))),
    "color": lambda pixels, strength: recolor(pixels, Chroma(saturation=_factor(strength))),
    "contrast": lambda pixels, strength: adjust(pixels, Tone(contrast=_factor(strength))),
    "brightness": lambda pixels, strength: adjust(pixels, Tone(brightness=_factor(strength))),
    "sharpness": lambda pixels, strength: sharpen(pixels, _factor(strength)),
}


def _factor(strength: float) -> float:
    return 1.0 + 0.9 * strength
