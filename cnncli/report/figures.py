"""A matplotlib figure without windows, pyplot or the user's own style, written as a PNG in one step."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.storage.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120


@contextmanager
def png_figure(path: Path, size_inches: tuple[float, float]) -> Iterator[Figure]:
    """An empty figure to draw on; when the block ends it becomes the PNG at `path`.

    pyplot keeps figures and a backend for the whole process, so it stays out of it. matplotlib's own style holds inside
    the block, whatever the notebook around it prefers.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"):
        figure = Figure(figsize=size_inches, dpi=DOTS_PER_INCH, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        data = io.BytesIO()
        figure.savefig(data, format="png", metadata={"Software": None})
    write_atomically(path, data.getvalue())
