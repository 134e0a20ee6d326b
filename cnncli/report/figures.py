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
    """Provide an empty figure that is written as a PNG to `path` at the end of the block.

    pyplot is not used, since it keeps figures and a backend for the whole process. The block uses matplotlib's default
    style, whatever the notebook around it has set.
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
