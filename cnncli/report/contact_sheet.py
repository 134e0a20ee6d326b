"""A contact sheet: images in rows, their views in columns, with labels, as one PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cnncli.report.figures import quiet_matplotlib
from cnncli.storage.atomic import write_atomically

INK, GRAY, PAPER = "#1a1a1a", "#6b6b6b", "white"
MARGIN, GAP, LINE = 24, 6, 20
AFTER_FIRST = 14
"""Extra gap after the first column, from which the others were made, in pixels."""
LABEL_WIDTHS = (90, 190)
"""Smallest and largest width of the labels, in pixels."""
TILE_SIDES = (96, 224)
"""Smallest and largest longer side of an image on the sheet, in pixels; others are enlarged or reduced."""


@dataclass(frozen=True)
class SheetRow:
    """One row of a sheet.

    Attributes:
        label: Text in black, such as the class.
        detail: Text below it in gray, such as the name of the file.
        images: One image per column, uint8 (height, width, 1 or 3), all of one size in the whole sheet.
    """

    label: str
    detail: str
    images: Sequence[NDArray[np.uint8]]


def draw_contact_sheet(rows: Sequence[SheetRow], columns: Sequence[str], title: str, lines: str, path: Path) -> None:
    """Draw a sheet and write it atomically.

    Args:
        rows: At least one row, each with an image per column.
        columns: Headings of the columns.
        title: Title of the sheet.
        lines: One or more lines of small print below the title.
        path: Path of the PNG.
    """
    layout = _Layout.of(rows, columns, title, lines)
    sheet = Image.new("RGB", layout.size, PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN - 4), title, INK, _font(20))
    pen.multiline_text((MARGIN, MARGIN + 28), lines, GRAY, _font(13), spacing=LINE - 13)
    for column, heading in enumerate(columns):
        pen.text(
            (layout.left(column), layout.top(0) - LINE), _shortened(heading, _font(13), layout.tile[0]), GRAY, _font(13)
        )
    for place, row in enumerate(rows):
        _write_label(pen, row, layout, place)
        for column, pixels in enumerate(row.images):
            sheet.paste(_tile(pixels, layout.tile), (layout.left(column), layout.top(place)))
    data = io.BytesIO()
    sheet.save(data, "PNG")
    write_atomically(path, data.getvalue())


@dataclass(frozen=True)
class _Layout:
    """Positions on the sheet, in pixels."""

    tile: tuple[int, int]
    label_width: int
    head: int
    size: tuple[int, int]

    @classmethod
    def of(cls, rows: Sequence[SheetRow], columns: Sequence[str], title: str, lines: str) -> _Layout:
        """Return the layout for rows and columns."""
        tile = _tile_size(*rows[0].images[0].shape[:2])
        texts = [(row.label, 15) for row in rows] + [(row.detail, 12) for row in rows]
        least, most = LABEL_WIDTHS
        label_width = int(min(most, max([least, *(_font(size).getlength(text) for text, size in texts)])))
        head = MARGIN + 28 + LINE * (lines.count("\n") + 1) + LINE + 8
        grid_width = len(columns) * (tile[0] + GAP) - GAP + AFTER_FIRST
        text_width = max([_font(20).getlength(title), *(_font(13).getlength(line) for line in lines.split("\n"))])
        width = 2 * MARGIN + max(label_width + AFTER_FIRST + grid_width, math.ceil(text_width))
        return cls(tile, label_width, head, (width, head + len(rows) * (tile[1] + GAP) - GAP + MARGIN))

    def left(self, column: int) -> int:
        """Return the left edge of a column."""
        start = MARGIN + self.label_width + AFTER_FIRST
        return start + column * (self.tile[0] + GAP) + (AFTER_FIRST if column else 0)

    def top(self, row: int) -> int:
        """Return the upper edge of a row."""
        return self.head + row * (self.tile[1] + GAP)


def _write_label(pen: ImageDraw.ImageDraw, row: SheetRow, layout: _Layout, place: int) -> None:
    """Write the label and detail of a row next to the middle of its images."""
    middle = layout.top(place) + layout.tile[1] // 2
    pen.text((MARGIN, middle - 19), _shortened(row.label, _font(15), layout.label_width), INK, _font(15))
    pen.text((MARGIN, middle + 2), _shortened(row.detail, _font(12), layout.label_width), GRAY, _font(12))


def _tile_size(height: int, width: int) -> tuple[int, int]:
    """Return the (width, height) of an image on the sheet; a tiny one is enlarged by an integer factor."""
    least, most = TILE_SIDES
    longer = max(height, width)
    scale = math.ceil(least / longer) if longer < least else min(1.0, most / longer)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _tile(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Return an image at its size on the sheet; enlarged pixels remain squares."""
    image = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    is_enlarged = size[0] > image.width
    return image.resize(size, Image.Resampling.NEAREST if is_enlarged else Image.Resampling.LANCZOS)


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Shorten a text to a width by leaving out its middle: names differ at both ends."""
    kept = len(text)
    shown = text
    while font.getlength(shown) > width and kept > 2:
        kept -= 1
        shown = text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]
    return shown


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans from matplotlib: the same everywhere, while Pillow's own font lacks even ×, – and ä."""
    with quiet_matplotlib():
        import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
