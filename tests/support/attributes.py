"""Images with two attributes, a shape and a color, and a table of their labels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLORS = {"red": (200, 40, 40), "blue": (40, 60, 200)}
SHAPES = ("circle", "square")


def draw_attributes(labels: Sequence[str], seed: int) -> Image.Image:
    """Draw a shape of 32 × 32 pixels in its color at a random place; an image without labels is a gray background."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(150, 256, (32, 32, 3), dtype=np.uint8))
    pen, (x, y) = ImageDraw.Draw(image), random.integers(2, 10, 2).tolist()
    box, color = (x, y, x + 18, y + 18), next((COLORS[one] for one in labels if one in COLORS), None)
    if color:
        (pen.ellipse if "circle" in labels else pen.rectangle)(box, fill=color)
    return image


def write_attributes(root: Path, n: int, separator: str = ";", unlabeled: int = 0) -> Path:
    """Write n images and `unlabeled` more without labels, with a table of their labels, and return its path."""
    root.mkdir(parents=True, exist_ok=True)
    kinds = [(shape, color) for shape in SHAPES for color in COLORS]
    all_labels = [kinds[number % len(kinds)] for number in range(n)] + [()] * unlabeled
    for number, labels in enumerate(all_labels):
        draw_attributes(labels, number).save(root / f"{number:03}.png")
    rows = [(f"{number:03}.png", separator.join(labels)) for number, labels in enumerate(all_labels)]
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "labels"), *rows])
    return root / "labels.csv"
