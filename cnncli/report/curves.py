"""Draw the metrics over the epochs of a run as a PNG.

Training and validation differ in color (from Okabe and Ito's palette for color-blind readers), dash and marker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncli.catalogue.metrics import MetricInfo
from cnncli.metrics.table import METRICS, VALIDATION, metric_named
from cnncli.report.figures import BLUE, GRID, GUIDE, VERMILION, save_figure
from cnncli.runs.records import HistoryRow
from cnncli.terminal.formatting import percent
from cnncli.training.solvers.problem import Strength

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis


TRAIN: dict[str, Any] = {"color": BLUE, "linestyle": (0, (4, 1.5)), "marker": "o", "label": "train"}
VALIDATION_LINE: dict[str, Any] = {"color": VERMILION, "linestyle": "-", "marker": "s", "label": "validation"}
RING: dict[str, Any] = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "markeredgecolor": "black"}
PANEL_INCHES = (5.0, 3.6)
MAX_MARKERS = 40
NARROW_STAGE = 0.2
"""Fraction of the axis below which a stage's name can overlap its neighbor's."""


def draw_curves(rows: Sequence[HistoryRow], path: Path, best: int, word: str = "best") -> None:
    """Draw a run's metrics side by side as a PNG.

    Args:
        rows: The epochs.
        path: PNG to write.
        best: Epoch whose weights are kept, from 1, or 0 if it is none of them.
        word: Why they are kept: it is the best epoch, or the last one.
    """
    width, height = PANEL_INCHES
    names = dict.fromkeys([*METRICS, *(name for row in rows for name in row.training)])
    metrics = [metric for name in names if (metric := metric_named(name))]
    with save_figure(path, (len(metrics) * width, height)) as figure:
        for axes, metric in zip(figure.subplots(1, len(metrics)), metrics, strict=True):
            draw_panel(axes, metric, rows, len(rows), best, word)


def draw_panel(
    axes: Axes, metric: MetricInfo, rows: Sequence[HistoryRow], last_epoch: int, best: int, word: str = "best"
) -> None:
    """Draw one metric of a run: training and validation, stages, best or last epoch (from 1, or 0 for none)."""
    for name, width, style in ((metric.name, 1.6, TRAIN), (VALIDATION + metric.name, 1.8, VALIDATION_LINE)):
        values = [row.metrics.get(name, math.nan) for row in rows]
        if all(map(math.isnan, values)):
            continue  # no validation images, or a metric that is newer than the run
        markersize = 4.0 if last_epoch <= MAX_MARKERS else 0.0
        axes.plot(range(1, len(rows) + 1), values, linewidth=width, markersize=markersize, **style)
    if best:
        kept = rows[best - 1]
        value = (kept.validation or kept.metrics).get(metric.name, math.nan)
        text = percent(value) if metric.is_fraction else f"{value:.4f}"
        axes.plot([best], [value], linestyle="none", zorder=5, label=f"{word} epoch {best}: {text}", **RING)
    _format_axes(axes, metric, last_epoch)
    _separate_stages(axes, rows, last_epoch)
    axes.legend(frameon=True, framealpha=0.85, edgecolor="none", fontsize=9)


def draw_strengths(strengths: Sequence[Strength], path: Path) -> None:
    """Draw the cross-validated metrics of a solved head over its L2 strengths as a PNG; the chosen one has a ring."""
    width, height = PANEL_INCHES
    chosen = min(strengths, key=lambda strength: strength.loss)
    with save_figure(path, (2 * width, height)) as figure:
        for axes, metric in zip(figure.subplots(1, 2), METRICS.values(), strict=True):
            values = [getattr(strength, metric.name) for strength in strengths]
            line = {**VALIDATION_LINE, "label": "held-out training images"}
            axes.plot([strength.l2 for strength in strengths], values, linewidth=1.8, markersize=4.0, **line)
            value = getattr(chosen, metric.name)
            text = percent(value) if metric.is_fraction else f"{value:.4f}"
            axes.plot([chosen.l2], [value], linestyle="none", label=f"chosen, L2 {chosen.l2:.2g}: {text}", **RING)
            axes.set_xscale("log")
            axes.set_xlabel("L2 strength, for Pareto-scaled features")
            format_axes(axes, metric)
            axes.legend(frameon=True, framealpha=0.85, edgecolor="none", fontsize=9)


def _format_axes(axes: Axes, metric: MetricInfo, last_epoch: int) -> None:
    """Set scales, grid and labels."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0.5, max(last_epoch, 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    format_axes(axes, metric)


def format_axes(axes: Axes, metric: MetricInfo, axis: Axis | None = None) -> None:
    """Set the scale and the label of the axis of a metric, by default y, and the grid."""
    from matplotlib.ticker import FuncFormatter

    axis = axis or axes.yaxis
    axes.margins(y=0.08)
    axis.set_label_text(metric.name)
    if metric.is_fraction:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _separate_stages(axes: Axes, rows: Sequence[HistoryRow], last_epoch: int) -> None:
    """Draw a line at the start of each stage, with its name above; the names of short stages alternate in height."""
    groups = groupby(enumerate(rows, start=1), key=lambda item: item[1].stage)
    starts = [(stage, next(items)[0]) for stage, items in groups]
    if len(starts) < 2:
        return
    is_narrow = any(end - start < NARROW_STAGE * last_epoch for (_, start), (_, end) in pairwise(starts))
    for place, (stage, start) in enumerate(starts):
        if place:
            axes.axvline(start - 0.5, color=GUIDE, linewidth=1.1, linestyle=(0, (1, 1.5)))
        offset, at_top = (2, 14 if is_narrow and place % 2 else 3), axes.get_xaxis_transform()
        axes.annotate(stage, (start - 0.5, 1.0), offset, at_top, "offset points", fontsize=9, color="#404040")
