"""Perturbations of known strength, with which `cnncli evaluate --perturb` measures how robust a classifier is.

They use the functions of the augmentation. Directions are random, but fixed for each image: a shift goes into any
direction, and a rotation to either side. Pixels from outside of the image are those at its border.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from cnncli.augmentation.color import scale_brightness, scale_contrast
from cnncli.augmentation.geometry import rotate, scale, translate, warp
from cnncli.augmentation.noise import add_noise
from cnncli.augmentation.operation import AffineStep, Matrix, Pixels
from cnncli.runtime.random_keys import generator


@dataclass(frozen=True)
class Perturbation:
    """A change of images.

    Attributes:
        name: Name on the command line.
        unit: What the strength means, for tables and plots.
        strengths: Strengths to measure, of which 0 is no change.
        apply: Changes pixels by a strength other than 0; the random numbers are those of the image.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    apply: Callable[[Pixels, float, np.random.Generator], Pixels]

    def __call__(self, pixels: Pixels, strength: float, digest: str) -> Pixels:
        """Return the changed image; strength 0 returns `pixels` itself."""
        return self.apply(pixels, strength, generator("perturb", self.name, digest)) if strength else pixels


def _shift(pixels: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    angle = 2 * math.pi * random.random()
    x, y = strength / 100 * math.cos(angle), strength / 100 * math.sin(angle)
    return _warp(pixels, partial(translate, x=x, y=y))


def _rotate(pixels: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    degrees = strength if random.random() < 0.5 else -strength
    return _warp(pixels, partial(rotate, degrees=degrees))


def _scale(pixels: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    factor = 1 / (1 + strength / 100)
    return _warp(pixels, partial(scale, x=factor, y=factor))


def _warp(pixels: Pixels, matrix: Callable[[int, int], Matrix]) -> Pixels:
    return warp(pixels, [AffineStep(matrix, "center")], "nearest", 0)


def _noise(pixels: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    return add_noise(pixels, strength, ("perturb", int(random.integers(2**62))))


def _blur(pixels: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    import cv2

    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), strength)).reshape(pixels.shape)


_CHANGES = (-80.0, -60.0, -40.0, -20.0, 0.0, 20.0, 40.0, 60.0, 80.0, 100.0)

PERTURBATIONS: dict[str, Perturbation] = {
    one.name: one
    for one in (
        Perturbation("shift", "shift in % of the width and height", (0, 1, 2, 5, 10, 15, 20, 30, 40), _shift),
        Perturbation("rotate", "rotation in degrees", (0, 5, 10, 15, 30, 45, 60, 90, 135, 180), _rotate),
        Perturbation("scale", "change of size in %", (-60, -40, -20, -10, 0, 10, 20, 50, 100), _scale),
        Perturbation(
            "brightness", "change of brightness in %", _CHANGES, lambda p, s, _: scale_brightness(p, 1 + s / 100)
        ),
        Perturbation("contrast", "change of contrast in %", _CHANGES, lambda p, s, _: scale_contrast(p, 1 + s / 100)),
        Perturbation("noise", "standard deviation in intensity levels (0–255)", (0, 5, 10, 20, 40, 60, 80), _noise),
        Perturbation("blur", "standard deviation in pixels", (0, 0.5, 1, 1.5, 2, 3, 4, 6), _blur),
    )
}
"""The perturbations by name."""
