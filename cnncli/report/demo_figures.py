"""Figures of demonstrations: labeled tiles, an image as a matrix of numbers, and receptive fields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cnncli.report.figures import save_figure

TILE_INCHES = 2.3
MOST_NUMBERS = 40
"""Maximum number of pixels of a side that are labeled with their values."""


@dataclass(frozen=True)
class Tile:
    """An image with a title and small text below; pixels are uint8 (height, width, 3), or (height, width) of any range.

    Values without color are drawn from black to white or, if some are negative, from blue to red around 0.
    """

    title: str
    pixels: NDArray[Any]
    detail: str = ""


def draw_tile_figure(tiles: Sequence[Tile], path: Path, columns: int = 5) -> None:
    """Draw images in rows as a PNG or SVG."""
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    n_lines = max(tile.detail.count("\n") + 1 for tile in tiles)
    size = (columns * TILE_INCHES, rows * (TILE_INCHES + 0.3 + 0.16 * n_lines))
    with save_figure(path, size) as figure:
        for tile, axes in zip(tiles, figure.subplots(rows, columns, squeeze=False).flat, strict=False):
            limit = max(abs(float(tile.pixels.min())), abs(float(tile.pixels.max())), 1e-9)
            if tile.pixels.ndim == 3:
                axes.imshow(tile.pixels)
            elif tile.pixels.min() < 0:
                axes.imshow(tile.pixels, cmap="RdBu_r", vmin=-limit, vmax=limit)
            else:
                axes.imshow(tile.pixels, cmap="gray", vmin=0, vmax=limit)
            axes.set_title(tile.title, fontsize=9)
            axes.set_xlabel(tile.detail, fontsize=7, family="monospace")
        for axes in figure.axes:
            axes.set_xticks([])
            axes.set_yticks([])
        for axes in figure.axes[len(tiles) :]:
            axes.axis("off")


def draw_pixels(values: NDArray[Any], path: Path) -> None:
    """Draw a gray image (height, width), 0–255, with the number of each pixel if there are not too many."""
    height, width = values.shape
    side = 0.33 if max(height, width) <= MOST_NUMBERS else 0.08
    with save_figure(path, (max(width * side, 2) + 0.2, max(height * side, 2) + 0.2)) as figure:
        axes = figure.add_subplot()
        axes.imshow(values, cmap="gray", vmin=0, vmax=255)
        axes.axis("off")
        if max(height, width) <= MOST_NUMBERS:
            for row in range(height):
                for column in range(width):
                    value = int(values[row, column])
                    color = "black" if value > 110 else "white"
                    axes.text(column, row, f"{value}", ha="center", va="center", fontsize=7, color=color)


def draw_receptive_fields(fields: Sequence[int], path: Path) -> None:
    """Draw the receptive field of one output of each layer as nested squares of pixels; `fields` are their sides."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    largest = max(fields)
    with save_figure(path, (6.5, 5.0)) as figure:
        axes = figure.add_subplot()
        axes.set_xlim(-0.5, largest + 0.5)
        axes.set_ylim(largest + 0.5, -0.5)
        axes.set_aspect("equal")
        colors = colormaps["viridis"]
        for place, side in reversed(list(enumerate(fields))):
            start = (largest - side) / 2
            color = colors(0.95 - 0.75 * place / max(1, len(fields) - 1))
            label = f"layer {place + 1}: {side}×{side}"
            axes.add_patch(Rectangle((start, start), side, side, facecolor=color, edgecolor="white", label=label))
        if largest <= 64:
            for line in range(largest + 1):
                axes.plot([0, largest], [line, line], color="#00000022", linewidth=0.6)
                axes.plot([line, line], [0, largest], color="#00000022", linewidth=0.6)
        axes.set_title("pixels that one output depends on", fontsize=10)
        axes.axis("off")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9, frameon=False)
