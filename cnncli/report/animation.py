"""Draw a convolution or pooling as an animation: input, kernels and output as grids of numbers, a frame per step."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cnncli.explanation.convolution import Worked
from cnncli.report.contact_sheet import GRAY, INK, MARGIN, PAPER, load_font
from cnncli.report.figures import BLUE, VERMILION
from cnncli.storage.atomic import replacing

CELL, BETWEEN, HEADING, TEXT_LINE = 36, 28, 26, 24
"""Sides of a cell, gaps between grids, and heights of lines, in pixels."""
INPUT, PADDING, KERNEL, OUTPUT, WINDOW = "#DCE6F5", "#EEEEEE", "#FBE3D6", "#DDF0DD", BLUE
"""Colors of cells, and of the frame around the window."""
MOST_TEXT = 110
"""Maximum number of characters of a formula below the grids."""
FORMATS = {".gif": "GIF", ".png": "PNG", ".webp": "WEBP"}


def draw_animation(worked: Worked, path: Path, frame_ms: int = 900) -> int:
    """Write the steps of an example as an animated GIF, PNG or WebP, by the suffix, and return the number of frames."""
    steps = list(worked.steps())
    captions = [_caption(worked, step) for step in steps]
    # One width for all: formulas differ in length, and a WebP has frames of one size.
    text_width = math.ceil(max(load_font(14).getlength(caption.rjust(20)) for caption in captions))
    frames = [
        _frame(worked, number, step, caption, text_width)
        for number, (step, caption) in enumerate(zip(steps, captions, strict=True))
    ]
    durations = [frame_ms] * (len(frames) - 1) + [3 * frame_ms]
    with replacing(path) as temporary:
        frames[0].save(
            temporary, FORMATS[path.suffix.lower()], save_all=True, append_images=frames[1:], duration=durations, loop=0
        )
    return len(frames)


def _caption(worked: Worked, step: tuple[int, int, int]) -> str:
    formula = worked.formula(*step)
    return formula if len(formula) <= MOST_TEXT else f"… = {formula.rpartition(' = ')[2]}"


def _frame(worked: Worked, number: int, step: tuple[int, int, int], caption: str, text_width: int) -> Image.Image:
    """Return the picture of a step: outputs up to this one are filled in."""
    k, row, column = step
    depth, filters = worked.values.shape[-1], worked.output.shape[-1]
    columns = [worked.values.shape[1]] + [worked.size] * (filters if worked.kernels is not None else 0)
    columns.append(worked.output.shape[1])
    lefts = MARGIN + np.cumsum([0, *(n * CELL + BETWEEN for n in columns)])
    stacked = [depth * (worked.values.shape[0] * CELL + HEADING), filters * (worked.output.shape[0] * CELL + HEADING)]
    height = MARGIN * 2 + max(stacked) + TEXT_LINE + 8
    image = Image.new("RGB", (max(int(lefts[-1]), text_width + 2 * MARGIN + 20, 560), height), PAPER)
    pen = ImageDraw.Draw(image)
    _draw_input(pen, worked, int(lefts[0]), (row, column), k)
    for place in range(filters if worked.kernels is not None else 0):
        _draw_kernel(pen, worked, int(lefts[1 + place]), place, place == k)
    _draw_output(pen, worked, int(lefts[-2]), number, step)
    pen.text((MARGIN, height - MARGIN - TEXT_LINE + 4), caption, INK, load_font(14))
    return image


def _draw_input(pen: ImageDraw.ImageDraw, worked: Worked, left: int, place: tuple[int, int], k: int) -> None:
    rows, columns = worked.window(*place)
    inside = {(row, column) for row in range(*_bounds(rows)) for column in range(*_bounds(columns))}
    height, width, depth = worked.values.shape
    margin = worked.padding
    for channel in range(depth):
        top = MARGIN + channel * (height * CELL + HEADING)
        title = "input" if channel == 0 and depth == 1 else f"input, channel {channel + 1}"
        pen.text((left, top), title, GRAY, load_font(13))
        is_used = worked.kernels is not None or channel == k
        for row in range(height):
            for column in range(width):
                is_padding = not (margin <= row < height - margin and margin <= column < width - margin)
                color = PADDING if is_padding else INPUT
                box = _cell(pen, left, top + HEADING - 6, row, column, worked.values[row, column, channel], color)
                if is_used and (row, column) in inside:
                    pen.rectangle(box, outline=WINDOW, width=3)


def _bounds(part: slice) -> tuple[int, int, int]:
    return part.start, part.stop, part.step


def _draw_kernel(pen: ImageDraw.ImageDraw, worked: Worked, left: int, k: int, is_active: bool) -> None:
    if worked.kernels is None or worked.biases is None:
        return
    *_, depth = worked.kernels.shape
    pitch = worked.values.shape[0] * CELL + HEADING
    for channel in range(depth):
        top = MARGIN + channel * pitch
        title = "kernel" if len(worked.kernels) == depth == 1 else f"kernel {k + 1}, channel {channel + 1}"
        pen.text((left, top), title if worked.size > 2 else "", GRAY, load_font(13 if depth == 1 else 11))
        for row, column in np.ndindex(worked.size, worked.size):
            value = worked.kernels[k, row, column, channel]
            box = _cell(pen, left, top + HEADING - 6, row, column, value, KERNEL)
            if is_active:
                pen.rectangle(box, outline=VERMILION, width=2)
    if worked.biases.any():
        top = MARGIN + HEADING + worked.size * CELL + 4
        pen.text((left, top), f"bias {worked.biases[k]:g}", INK if is_active else GRAY, load_font(13))


def _draw_output(pen: ImageDraw.ImageDraw, worked: Worked, left: int, number: int, step: tuple[int, int, int]) -> None:
    height, width, filters = worked.output.shape
    done = set(list(worked.steps())[: number + 1])
    for k in range(filters):
        top = MARGIN + k * (height * CELL + HEADING)
        pen.text((left, top), "output" if filters == 1 else f"output {k + 1}", GRAY, load_font(13))
        for row in range(height):
            for column in range(width):
                is_known = (k, row, column) in done
                value = worked.output[row, column, k] if is_known else None
                box = _cell(pen, left, top + HEADING - 6, row, column, value, OUTPUT if is_known else PAPER)
                if (k, row, column) == step:
                    pen.rectangle(box, outline=WINDOW, width=3)


def _cell(
    pen: ImageDraw.ImageDraw, left: int, top: int, row: int, column: int, value: float | None, color: str
) -> tuple[int, int, int, int]:
    """Draw a cell with its number, and return its corners."""
    x, y = left + column * CELL, top + row * CELL
    box = (x, y, x + CELL, y + CELL)
    pen.rectangle(box, fill=color, outline="#B0B0B0")
    if value is not None:
        text = f"{value:g}".replace("-", "−")
        font = load_font(15 if len(text) < 4 else 11)
        pen.text((x + CELL / 2, y + CELL / 2), text, INK, font, anchor="mm")
    return box
