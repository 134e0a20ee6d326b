"""Curves of the metrics over the epochs of a run, as a PNG; several runs side by side on common scales.

Training and validation differ in color (blue and vermilion of Okabe and Ito's palette, which color-blind readers can
distinguish), dash and marker. Stages are separated by labeled lines, and the best epoch is circled and labeled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncli.metrics.table import METRICS, VALIDATION, Metric
from cnncli.report.figures import png_figure
from cnncli.runs.records import HistoryRow
from cnncli.terminal.formatting import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


TRAIN: dict[str, Any] = {"color": "#0072B2", "linestyle": (0, (4, 1.5)), "marker": "o", "label": "train"}
VALIDATION_LINE: dict[str, Any] = {"color": "#D55E00", "linestyle": "-", "marker": "s", "label": "validation"}
RING: dict[str, Any] = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "markeredgecolor": "black"}
PANEL_INCHES = (5.0, 3.6)
MAX_MARKERS = 40
NARROW_STAGE = 0.2
"""Fraction of the axis below which a stage's name can overlap its neighbor's."""


def draw_curves(rows: Sequence[HistoryRow], path: Path, best: int | None = None) -> None:
    """Draw a run's metrics side by side as a PNG.

    `best` is the best epoch, from 1, or 0 if it is none of them; default: the first with the lowest validation loss.
    """
    width, height = PANEL_INCHES
    with png_figure(path, (len(METRICS) * width, height)) as figure:
        for axes, metric in zip(figure.subplots(1, len(METRICS)), METRICS.values(), strict=True):
            _draw_panel(axes, metric, rows, len(rows), best)


def draw_curves_side_by_side(runs: Sequence[tuple[str, Sequence[HistoryRow]]], path: Path) -> None:
    """Draw the curves of at least one run with its title as a PNG, a column for each, on common scales."""
    width, height = PANEL_INCHES
    epochs = max(len(rows) for _, rows in runs)
    room_for_stages = 26 if any(len(_stage_starts(rows)) > 1 for _, rows in runs) else 8
    with png_figure(path, (len(runs) * width, len(METRICS) * height)) as figure:
        grid = figure.subplots(len(METRICS), len(runs), sharex=True, sharey="row", squeeze=False)
        for number, (metric, line) in enumerate(zip(METRICS.values(), grid, strict=True)):
            for (title, rows), axes in zip(runs, line, strict=True):
                _draw_panel(axes, metric, rows, epochs)
                axes.label_outer()
                if number == 0:
                    axes.set_title(title, loc="left", fontweight="bold", pad=room_for_stages)


def best_epoch(rows: Sequence[HistoryRow]) -> int | None:
    """Return the first epoch, from 1, with the lowest validation loss; None if no row has a finite one."""
    losses = [(row.metrics.get("val_loss", math.nan), epoch) for epoch, row in enumerate(rows, start=1)]
    return min((pair for pair in losses if math.isfinite(pair[0])), default=(math.nan, None))[1]


def _draw_panel(
    axes: Axes, metric: Metric, rows: Sequence[HistoryRow], last_epoch: int, best: int | None = None
) -> None:
    """Draw one metric of one run: training and validation, stages, best epoch."""
    for name, width, style in ((metric.name, 1.6, TRAIN), (VALIDATION + metric.name, 1.8, VALIDATION_LINE)):
        values = [row.metrics.get(name, math.nan) for row in rows]
        markersize = 4.0 if last_epoch <= MAX_MARKERS else 0.0
        axes.plot(range(1, len(rows) + 1), values, linewidth=width, markersize=markersize, **style)
    if best := best_epoch(rows) if best is None else best:
        value = rows[best - 1].metrics.get(VALIDATION + metric.name, math.nan)
        text = percent(value) if metric.is_fraction else f"{value:.4f}"
        axes.plot([best], [value], linestyle="none", zorder=5, label=f"best epoch {best}: {text}", **RING)
    _format_axes(axes, metric, last_epoch)
    _separate_stages(axes, rows, last_epoch)
    axes.legend(frameon=True, framealpha=0.85, edgecolor="none", fontsize=9)


def _format_axes(axes: Axes, metric: Metric, last_epoch: int) -> None:
    """Set scales, grid and labels."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlim(0.5, max(last_epoch, 1) + 0.5)
    axes.margins(y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel(metric.name)
    if metric.is_fraction:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.grid(color="#d9d9d9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _stage_starts(rows: Sequence[HistoryRow]) -> list[tuple[str, int]]:
    """Return the name of each stage and its first epoch, from 1."""
    groups = groupby(range(len(rows)), key=lambda index: rows[index].stage)
    return [(stage, next(indexes) + 1) for stage, indexes in groups]


def _separate_stages(axes: Axes, rows: Sequence[HistoryRow], last_epoch: int) -> None:
    """Draw a line where a stage begins, with its name above; the names of short stages alternate in height."""
    starts = _stage_starts(rows)
    if len(starts) < 2:
        return
    is_narrow = any(end - start < NARROW_STAGE * last_epoch for (_, start), (_, end) in pairwise(starts))
    for place, (stage, start) in enumerate(starts):
        if place:
            axes.axvline(start - 0.5, color="#595959", linewidth=1.1, linestyle=(0, (1, 1.5)))
        axes.annotate(
            stage,
            xy=(start - 0.5, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(2, 3 + (11 if is_narrow and place % 2 else 0)),
            textcoords="offset points",
            fontsize=9,
            color="#404040",
        )
