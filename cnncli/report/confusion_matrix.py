"""Draw a confusion matrix as a PNG that can be read with two classes and with a hundred and more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cnncli.report.contact_sheet import GRAY, INK, MARGIN, PAPER, load_font, shorten_to_width
from cnncli.storage.atomic import replacing

MOST_CLASSES = 150
"""Maximum number of classes with a row of their own; of more, those with the most mistakes."""
CELLS = ((12, 56), (30, 30), (60, 20), (MOST_CLASSES + 1, 15))
"""Size of a cell in pixels, up to a number of classes."""
NAME_WIDTH = 200
RIGHT, WRONG = (0, 114, 178), (213, 94, 0)
"""Blue and vermilion of Okabe and Ito's palette for color-blind readers."""
GRID = "#e3e3e3"
MIN_TINT = 0.12
"""Tint of a cell with a single image, which must be seen among a thousand white ones."""


@dataclass(frozen=True)
class Matrix:
    """Counts (n, n) of images by true (row) and predicted class (column), and the names of the classes."""

    counts: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def of(cls, counts: Sequence[Sequence[int]], names: Sequence[str], most: int = MOST_CLASSES) -> Matrix:
        """Return a matrix of at most `most` classes; the others, which have the fewest mistakes, are added up.

        >>> Matrix.of([[5, 0, 0], [0, 4, 1], [0, 2, 3]], "abc", most=2).names
        ('b', 'c', '1 other')
        """
        matrix = np.array(counts, np.int64)
        if len(names) <= most:
            return cls(matrix, tuple(names))
        mistakes = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
        kept = np.sort(np.argsort(-mistakes, kind="stable")[:most])
        others = np.setdiff1d(np.arange(len(names)), kept)
        groups = np.zeros((most + 1, len(names)), np.int64)
        groups[np.arange(most), kept] = 1
        groups[most, others] = 1
        return cls(groups @ matrix @ groups.T, (*(names[place] for place in kept), f"{len(others)} other"))


def draw_confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str, path: Path) -> None:
    """Draw a confusion matrix: rows are true classes, columns predicted ones.

    The color is the fraction of the true class, blue on the diagonal and orange elsewhere. Every cell with images has
    their number, as far as it fits.
    """
    matrix = Matrix.of(counts, classes)
    n, cell = len(matrix.names), next(size for most, size in CELLS if len(matrix.names) <= most)
    names, numbers = load_font(max(10, min(14, cell - 4))), load_font(max(8, min(15, cell // 2)))
    texts = [shorten_to_width(name, names, NAME_WIDTH) for name in matrix.names]
    widest = round(max(names.getlength(text) for text in texts))
    left, top = MARGIN + 20 + widest + 8, MARGIN + 56 + widest + 8
    note = "Rows: true class. Columns: predicted class. Color: fraction of the true class."
    width = max(left + n * cell, MARGIN + round(load_font(13).getlength(note))) + MARGIN
    image = Image.new("RGB", (width, top + n * cell + MARGIN), PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((MARGIN, MARGIN - 4), title, INK, load_font(20))
    pen.text((MARGIN, MARGIN + 26), note, GRAY, load_font(13))
    fractions = matrix.counts / np.maximum(matrix.counts.sum(axis=1, keepdims=True), 1)
    for row, name in enumerate(texts):
        y = top + row * cell
        pen.text((left - 8, y + cell // 2), name, INK, names, anchor="rm")
        _draw_upright(image, name, (left + row * cell + cell // 2, top - 8), names)
        for column in np.flatnonzero(matrix.counts[row]).tolist():
            x, color = left + column * cell, _tint(fractions[row, column], RIGHT if row == column else WRONG)
            pen.rectangle((x, y, x + cell - 1, y + cell - 1), color)
            text = f"{matrix.counts[row, column]:,}"
            if numbers.getlength(text) <= cell - 2:
                ink = INK if sum(color) > 380 else PAPER
                pen.text((x + cell / 2, y + cell / 2), text, ink, numbers, anchor="mm")
    for line in range(n + 1):
        shade = GRAY if line % 10 == 0 and n > CELLS[0][0] else GRID  # guides the eye from a name to its cell
        pen.line((left + line * cell, top, left + line * cell, top + n * cell), shade)
        pen.line((left, top + line * cell, left + n * cell, top + line * cell), shade)
    with replacing(path) as temporary:
        image.save(temporary, "PNG")


def _draw_upright(image: Image.Image, text: str, foot: tuple[int, int], font: ImageFont.FreeTypeFont) -> None:
    """Draw a text that runs upwards from `foot`, (x, y), with its middle on x."""
    height = sum(font.getmetrics())
    strip = Image.new("RGB", (round(font.getlength(text)) + 2, height), PAPER)
    ImageDraw.Draw(strip).text((0, 0), text, INK, font)
    turned = strip.transpose(Image.Transpose.ROTATE_90)
    image.paste(turned, (foot[0] - height // 2, foot[1] - turned.height))


def _tint(fraction: float, color: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return a color between white, for 0, and the given one, for 1; small fractions are emphasized."""
    strength = MIN_TINT + (1 - MIN_TINT) * float(np.sqrt(fraction))
    red, green, blue = (round(255 + strength * (part - 255)) for part in color)
    return red, green, blue
