"""Draw images on a plane as a PNG: a dot for each in the color of its class, and thumbnails where there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cnncli.images.bands import preview
from cnncli.report.contact_sheet import GRAY, INK, MARGIN, PAPER, load_font
from cnncli.report.figures import COLORS, quiet_matplotlib
from cnncli.storage.atomic import replacing

SIDE = 1600
"""Width of the map in pixels, and its largest height."""
THUMBNAIL, GAP, BORDER = 60, 5, 4
"""Side of a thumbnail, least gap between two of them, and width of their colored border."""
MAX_THUMBNAILS = 500
RADIUS = 5
HEAD = 76
LEGEND_WIDTH = 240
MAX_CLASSES = 40
"""Maximum number of classes in the legend."""


@dataclass(frozen=True)
class MapPoint:
    """An image on the map: its place, 0-1 in both directions with the origin at the top left, and its class."""

    x: float
    y: float
    label: str


def draw_embedding_map(
    points: Sequence[MapPoint],
    thumbnail: Callable[[int], NDArray[np.uint8] | None],
    title: str,
    small_print: str,
    path: Path,
) -> None:
    """Draw a map; `thumbnail` returns a square image by its number, or None if there is none."""
    classes = sorted({point.label for point in points})
    colors = class_colors(classes)
    inner = SIDE - THUMBNAIL
    places = np.array([(point.x * inner, point.y * inner) for point in points]) + THUMBNAIL / 2
    height = int(places[:, 1].max() + THUMBNAIL / 2)
    height = max(height, 26 * min(len(classes), MAX_CLASSES) + 20)
    places += (MARGIN, HEAD)
    sheet = Image.new("RGB", (SIDE + LEGEND_WIDTH + 2 * MARGIN, height + HEAD + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN - 6), title, INK, load_font(22))
    pen.text((MARGIN, MARGIN + 24), small_print, GRAY, load_font(14))
    for (x, y), point in zip(places, points, strict=True):
        pen.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), colors[point.label], "white")
    half = THUMBNAIL // 2
    for number in choose_thumbnails(places):
        if (pixels := thumbnail(number)) is not None:
            x, y = places[number].round().astype(int).tolist()
            pen.rectangle((x - half, y - half, x + half - 1, y + half - 1), colors[points[number].label])
            inside = THUMBNAIL - 2 * BORDER
            image = Image.fromarray(preview(pixels)).resize((inside, inside), Image.Resampling.LANCZOS)
            sheet.paste(image, (x - half + BORDER, y - half + BORDER))
    _draw_legend(pen, classes, colors)
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG")


def choose_thumbnails(places: NDArray[np.float64]) -> list[int]:
    """Return the numbers of images whose thumbnails do not overlap, in a random but fixed order of preference."""
    chosen: list[int] = []
    taken = np.empty((0, 2))
    for number in np.random.default_rng(0).permutation(len(places)).tolist():
        distances = np.abs(taken - places[number]).max(axis=1)
        if len(chosen) < MAX_THUMBNAILS and (distances >= THUMBNAIL + GAP).all():
            chosen.append(number)
            taken = places[chosen]
    return chosen


def class_colors(classes: Sequence[str]) -> dict[str, str | tuple[int, int, int]]:
    """Return a color for each class: distinct ones for a few, and evenly spaced hues for many."""
    if len(classes) <= len(COLORS):
        return dict(zip(classes, COLORS, strict=False))
    with quiet_matplotlib():
        from matplotlib import colormaps
    wheel = colormaps["turbo"](np.linspace(0.03, 0.97, len(classes)), bytes=True)
    return {name: tuple(color[:3].tolist()) for name, color in zip(classes, wheel, strict=True)}


def _draw_legend(
    pen: ImageDraw.ImageDraw, classes: Sequence[str], colors: dict[str, str | tuple[int, int, int]]
) -> None:
    left, font = SIDE + 2 * MARGIN, load_font(15)
    for number, name in enumerate(classes[:MAX_CLASSES]):
        top = HEAD + 26 * number
        pen.ellipse((left, top + 3, left + 13, top + 16), colors[name])
        pen.text((left + 22, top), _shortened(name or "no label"), INK, font)
    if len(classes) > MAX_CLASSES:
        pen.text((left, HEAD + 26 * MAX_CLASSES), f"and {len(classes) - MAX_CLASSES} more", GRAY, font)


def _shortened(name: str) -> str:
    font, width = load_font(15), LEGEND_WIDTH - 40
    while font.getlength(name) > width and len(name) > 2:
        name = f"{name[:-2]}…"
    return name
