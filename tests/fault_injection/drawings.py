"""A small folder of images that two classes can be learned from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

SIDE_PX = 40


def write_drawings(folder: Path, per_class: Mapping[str, int]) -> None:
    """Stripes and dots in random colors, as PNG, in split folders of class folders."""
    random = np.random.default_rng(0)
    for split, count in per_class.items():
        for label in ("dots", "stripes"):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = _drawn(label, random)
                Image.fromarray(pixels).save(folder / split / label / f"{label}-{number:03}.png")


def _drawn(label: str, random: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    period, phase = random.integers(5, 9), random.integers(0, 5)
    inside = (x + phase) % period < period // 2
    if label == "dots":
        inside &= (y + phase) % period < period // 2
    dark, light = random.integers(0, 100, 3), random.integers(150, 256, 3)
    noisy = np.where(inside[..., None], light, dark) + random.normal(0, 12, (SIDE_PX, SIDE_PX, 3))
    return noisy.clip(0, 255).astype(np.uint8)
