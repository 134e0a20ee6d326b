"""Draw rotated letters in several colors on noisy backgrounds: 120 classes.

Deviation, rotation and noise are such that a linear head on the features of MobileNet gets two thirds right.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE_PX = 96
LETTERS = "ABCDEFGHJKLMNPQRSTUVXYZ2346789"
N_HUES = 4
HUE_DEVIATION = 0.1
"""Standard deviation of the hue of an image, in steps between two colors."""
MAX_ROTATION_DEGREES = 5
NOISE = 2
"""Standard deviation of the noise of a pixel, of 255."""


def draw_letters(folder: Path, images: Mapping[str, int], letters: str = LETTERS) -> None:
    """Draw class folders in folders of splits: one letter in one color per class.

    Args:
        folder: New folder.
        images: Number of images per class of each split.
        letters: The letters.
    """
    random = np.random.default_rng(0)
    for (split, n), letter, hue in product(images.items(), letters, range(N_HUES)):
        of_class = folder / split / f"{letter}-{hue}"
        of_class.mkdir(parents=True)
        for number in range(n):
            _draw(random, letter, hue).save(of_class / f"{number}.png")


def _draw(random: np.random.Generator, letter: str, hue: int) -> Image.Image:
    """Draw a letter at a random position, angle and size in a color similar to that of its class."""
    size_px = int(random.integers(SIDE_PX * 2 // 3, SIDE_PX))
    mask = Image.new("L", (SIDE_PX, SIDE_PX))
    position = tuple(SIDE_PX / 2 + random.uniform(-1, 1, 2) * (SIDE_PX - size_px) / 2)
    ImageDraw.Draw(mask).text(position, letter, fill=255, font=ImageFont.load_default(size_px), anchor="mm")
    mask = mask.rotate(random.uniform(-MAX_ROTATION_DEGREES, MAX_ROTATION_DEGREES), Image.Resampling.BILINEAR)
    color = colorsys.hsv_to_rgb(
        (hue + random.normal(0, HUE_DEVIATION)) / N_HUES % 1, random.uniform(0.7, 1), random.uniform(0.6, 1)
    )
    background = tuple(int(value) for value in random.integers(0, 256, 3))
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), background)
    image.paste(tuple(round(255 * value) for value in color), mask=mask)
    noisy = np.asarray(image, np.float64) + random.normal(0, NOISE, (SIDE_PX, SIDE_PX, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
