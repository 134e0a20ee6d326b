"""Draw a contact sheet as a PNG: one row per image, one column per view, with labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cnncli.images.bands import preview
from cnncli.report.figures import quiet_matplotlib
from cnncli.storage.atomic import replacing

INK, GRAY, PAPER = "#1a1a1a", "#6b6b6b", "white"
MARGIN, GAP, LINE = 24, 6, 20
AFTER_FIRST = 14
"""Extra gap in pixels after the first column, the original image."""
LABEL_WIDTHS = (90, 190)
"""Smallest and largest width of the labels, in pixels; the latter is that of headings as well."""
TILE_SIDES = (96, 224)
"""Smallest and largest longer side of an image on the sheet, in pixels; others are enlarged or reduced."""


@dataclass(frozen=True)
class SheetRow:
    """A row of a sheet.

    Attributes:
        label: Text in black, such as the class.
        detail: Text below it in gray, such as the file name.
        images: One image per column, uint8 (height, width, channels), all of the same size in the whole sheet.
        captions: Gray texts below the images; in the whole sheet, or in no row.
    """

    label: str
    detail: str
    images: Sequence[NDArray[np.uint8]]
    captions: Sequence[str] = ()


def draw_contact_sheet(rows: Sequence[SheetRow], columns: Sequence[str], title: str, lines: str, path: Path) -> None:
    """Draw rows with one image per column as a PNG; `lines` is the small text below the title."""
    tile = _tile_size(*rows[0].images[0].shape[:2])
    texts = [load_font(15).getlength(row.label) for row in rows] + [load_font(12).getlength(row.detail) for row in rows]
    label_width = math.ceil(np.clip(max(texts), *LABEL_WIDTHS))
    first = MARGIN + label_width + AFTER_FIRST
    lefts = [first + column * (tile[0] + GAP) + (AFTER_FIRST if column else 0) for column in range(len(columns))]
    head = MARGIN + 28 + LINE * (lines.count("\n") + 1) + LINE + 8
    below = LINE if rows[0].captions else 0
    tops = [head + place * (tile[1] + below + GAP) for place in range(len(rows))]
    text_width = max(load_font(20).getlength(title), *(load_font(13).getlength(line) for line in lines.split("\n")))
    width = max(lefts[-1] + tile[0], MARGIN + math.ceil(text_width)) + MARGIN
    sheet = Image.new("RGB", (width, tops[-1] + tile[1] + below + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN - 4), title, INK, load_font(20))
    pen.multiline_text((MARGIN, MARGIN + 28), lines, GRAY, load_font(13), spacing=LINE - 13)
    for left, heading in zip(lefts, columns, strict=True):
        pen.text((left, head - LINE), shorten_to_width(heading, load_font(13), tile[0]), GRAY, load_font(13))
    for top, row in zip(tops, rows, strict=True):
        middle = top + tile[1] // 2
        pen.text((MARGIN, middle - 19), shorten_to_width(row.label, load_font(15), label_width), INK, load_font(15))
        pen.text((MARGIN, middle + 2), shorten_to_width(row.detail, load_font(12), label_width), GRAY, load_font(12))
        for left, pixels in zip(lefts, row.images, strict=True):
            sheet.paste(_tile(pixels, tile), (left, top))
        for left, caption in zip(lefts, row.captions, strict=bool(row.captions)):
            text = shorten_to_width(caption, load_font(12), tile[0])
            pen.text((left, top + tile[1] + 2), text, GRAY, load_font(12))
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG")


def draw_tiles(
    tiles: Sequence[tuple[str, NDArray[np.uint8]]],
    title: str,
    lines: str,
    path: Path,
    columns: int,
    details: Sequence[str] = (),
) -> None:
    """Draw images of one size with a heading above each, row by row, as a PNG; `details` are gray texts below them."""
    size = _tile_size(*tiles[0][1].shape[:2])
    head = MARGIN + 28 + LINE * (lines.count("\n") + 1) + 8
    # Columns are as wide as the longest heading, up to a limit, so that those of small images are not cut off.
    heading_width = math.ceil(max(load_font(13).getlength(name) for name, _ in tiles))
    column = max(size[0], min(heading_width, LABEL_WIDTHS[1]))
    step = (column + 2 * GAP, size[1] + LINE * (2 if details else 1) + 2 * GAP)
    n_rows = math.ceil(len(tiles) / columns)
    text_width = max(load_font(20).getlength(title), *(load_font(13).getlength(line) for line in lines.split("\n")))
    width = max(min(columns, len(tiles)) * step[0], math.ceil(text_width)) + 2 * MARGIN
    sheet = Image.new("RGB", (width, head + n_rows * step[1] + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN - 4), title, INK, load_font(20))
    pen.multiline_text((MARGIN, MARGIN + 28), lines, GRAY, load_font(13), spacing=LINE - 13)
    for place, (name, pixels) in enumerate(tiles):
        left, top = MARGIN + place % columns * step[0], head + place // columns * step[1]
        pen.text((left, top), shorten_to_width(name, load_font(13), column), INK, load_font(13))
        sheet.paste(_tile(pixels, size), (left, top + LINE))
        if details:
            text = shorten_to_width(details[place], load_font(11), column)
            pen.text((left, top + LINE + size[1] + 2), text, GRAY, load_font(11))
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG")


def _tile_size(height: int, width: int) -> tuple[int, int]:
    """Return the (width, height) of an image on the sheet; a tiny one is enlarged by an integer factor."""
    least, most = TILE_SIDES
    longer = max(height, width)
    scale = math.ceil(least / longer) if longer < least else min(1.0, most / longer)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _tile(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Return an image at its size on the sheet; enlarged pixels remain squares."""
    image = Image.fromarray(preview(pixels))
    is_enlarged = size[0] > image.width
    return image.resize(size, Image.Resampling.NEAREST if is_enlarged else Image.Resampling.LANCZOS)


def shorten_to_width(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Shorten a text to a width by omitting its middle, since names differ at both ends."""
    kept = len(text)
    shown = text
    while font.getlength(shown) > width and kept > 2:
        kept -= 1
        shown = text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]
    return shown


@cache
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans from matplotlib, which is the same everywhere; Pillow's own font lacks even ×, – and ä."""
    with quiet_matplotlib():
        import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
