"""Draw the statistics of the layers of a run: what their outputs look like, and how gradients pass through them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncli.report.figures import BLUE, GRID, VERMILION, save_figure
from cnncli.runs.inspection import BINS, LayerStatistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST: dict[str, Any] = {"color": BLUE, "linestyle": (0, (4, 1.5)), "marker": "o"}
LAST: dict[str, Any] = {"color": VERMILION, "linestyle": "-", "marker": "s"}
MAX_HISTOGRAMS = 10
MAX_NAMES = 24
"""Number of layers whose names fit on an axis."""
PANELS = {
    "std": ("standard deviation of outputs", "log"),
    "zeros": ("fraction of outputs that are 0", "linear"),
    "dead": ("fraction of dead channels", "linear"),
    "saturated": ("fraction of saturated outputs", "linear"),
    "gradient_norm": ("norm of the gradient", "log"),
    "update_ratio": ("change of the weights in the epoch", "log"),
}
"""Title and scale of the panels, by the name of a statistic."""


def draw_inspection(rows: Sequence[LayerStatistics], path: Path) -> None:
    """Draw the last stage of a run as a PNG: its start and its last epoch.

    The upper row has the histograms of up to ten layers, from the first to the last, and the others one statistic of
    all layers each.
    """
    stage = [row for row in rows if row.stage == rows[-1].stage]
    first, last = ([row for row in stage if row.epoch == epoch] for epoch in (stage[0].epoch, stage[-1].epoch))
    with save_figure(path, (15.0, 11.0)) as figure:
        parts: Any = figure.subfigures(2, 1, height_ratios=(1, 3))
        top, bottom = parts
        figure.suptitle(f"stage {stage[-1].stage}: before (blue) and after epoch {last[0].epoch} (orange)")
        chosen = np.unique(np.linspace(0, len(last) - 1, min(MAX_HISTOGRAMS, len(last))).round().astype(int))
        for axes, place in zip(np.ravel(top.subplots(1, len(chosen))), chosen, strict=True):
            _draw_histogram(axes, first[place], FIRST)
            _draw_histogram(axes, last[place], LAST)
        panels = {name for name in PANELS if any(getattr(row, name) is not None for row in (*first, *last))}
        shown = [(name, *PANELS[name]) for name in PANELS if name in panels]
        for axes, (name, title, scale) in zip(_grid(bottom, len(shown)), shown, strict=True):
            for numbers, style in ((first, FIRST), (last, LAST)):
                _draw_panel(axes, [getattr(row, name) for row in numbers], scale, style)
            _format_panel(axes, title, scale, [row.layer for row in last])


def _grid(figure: Any, n: int) -> list[Axes]:
    """Return the axes of n panels in two rows; the last place is empty if n is odd."""
    every = list(figure.subplots(2, math.ceil(n / 2), squeeze=False).flat)
    for axes in every[n:]:
        axes.remove()
    return every[:n]


def _draw_histogram(axes: Axes, row: LayerStatistics, style: dict[str, Any]) -> None:
    """Draw the outputs of a layer as the outline of a histogram, as a density."""
    edges = np.linspace(row.low, max(row.high, row.low + 1e-6), BINS + 1)
    density = np.array(row.histogram) / max(1, sum(row.histogram)) / (edges[1] - edges[0])
    axes.stairs(density, edges, color=style["color"], fill=style is FIRST, alpha=0.3 if style is FIRST else 1.0)
    axes.set_title(row.layer, fontsize=8)
    axes.set_yticks([])
    axes.tick_params(labelsize=7)


def _draw_panel(axes: Axes, values: Sequence[float | None], scale: str, style: dict[str, Any]) -> None:
    """Draw the values that exist; 0 is not on a logarithmic scale."""
    shown = {place: value for place, value in enumerate(values) if value or (value == 0 and scale == "linear")}
    axes.plot(list(shown), list(shown.values()), markersize=4.0, linewidth=1.6, **style)


def _format_panel(axes: Axes, title: str, scale: str, names: Sequence[str]) -> None:
    from matplotlib.ticker import LogLocator, PercentFormatter

    axes.set_title(title, fontsize=10)
    axes.set_yscale(scale)
    if scale == "linear":
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    else:
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, high / 10), high)  # a decade or more, so that there are two ticks
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_yticks([], minor=True)
    axes.set_xlim(-0.5, len(names) - 0.5)
    if len(names) <= MAX_NAMES:
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7)
    else:
        axes.set_xlabel("layer")
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
