"""A matplotlib figure without windows, pyplot or the user's style, written atomically as a PNG or SVG; its colors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.runtime.warnings import IgnoredWarnings
from cnncli.storage.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
"""Okabe and Ito's palette for color-blind readers, its yellow darkened, in the order in which lines take them."""
BLUE, VERMILION, GREEN = COLORS[:3]
GRID, GUIDE = "#d9d9d9", "#595959"
"""Gray of the grid of a plot, and of lines that mark a place in it."""

_WARNINGS = IgnoredWarnings(UserWarning, "cnncli.report.")  # matplotlib attributes the warning to the calling module


@contextmanager
def quiet_matplotlib() -> Iterator[None]:
    """Keep matplotlib, which must be imported inside the block, from printing.

    It prints about its font list if the home folder is not writable, and about characters that a font lacks.
    """
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with _WARNINGS.here():
            yield
    finally:
        log.setLevel(level)


@contextmanager
def save_figure(path: Path, size_inches: tuple[float, float]) -> Iterator[Figure]:
    """Provide an empty figure in the default style, and write it to `path` at the end of the block.

    A `path` that ends in .svg gives an SVG, any other a PNG. pyplot is not used, because it keeps figures and a backend
    for the whole process.
    """
    with quiet_matplotlib():
        from matplotlib import style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        with style.context("default"):
            figure = Figure(figsize=size_inches, dpi=DOTS_PER_INCH, layout="constrained")
            FigureCanvasAgg(figure)
            yield figure
            with replacing(path) as temporary:
                if path.suffix.lower() == ".svg":
                    figure.savefig(temporary, format="svg", metadata={"Date": None})
                else:
                    figure.savefig(temporary, format="png", metadata={"Software": None})
