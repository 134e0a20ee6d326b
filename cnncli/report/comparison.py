"""Draw several runs in one figure: the curves of a metric, or its final values over a quantity such as the depth.

Runs differ in color (Okabe and Ito's palette for color-blind readers) and marker. As in the curves of a single run,
training is dashed and validation is solid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncli.catalogue.metrics import MetricInfo
from cnncli.report.curves import format_axes
from cnncli.report.figures import COLORS, GUIDE, save_figure
from cnncli.terminal.formatting import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vPX"
SIZE_INCHES = (8.0, 5.0)
MAX_MARKERS = 40
MAX_TICKS = 8
"""Number of values on an axis up to which each has a tick."""
DODGE = 0.012
"""Distance between the error bars of two lines at the same position, as a fraction of the axis."""


@dataclass(frozen=True)
class Published:
    """A published value of the metric, and the name of its source."""

    value: float
    name: str


@dataclass(frozen=True)
class Curve:
    """Values of a metric during a training.

    Attributes:
        label: Name in the legend.
        x: Epochs, seconds, images or steps at the end of each epoch.
        train, validation: Values for each of them; NaN where there is none.
        test: Value of the test split at the end, or None.
    """

    label: str
    x: Sequence[float]
    train: Sequence[float]
    validation: Sequence[float]
    test: float | None = None


@dataclass(frozen=True)
class Point:
    """Final value of a metric at x, a number or a name, with its lower and upper limit."""

    x: float | str
    value: float
    low: float
    high: float


def draw_comparison(
    curves: Sequence[Curve], published: Sequence[Published], metric: MetricInfo, x: str, path: Path
) -> None:
    """Draw the curves of several runs in one PNG: training dashed, validation solid, test as a star at the end."""
    with save_figure(path, SIZE_INCHES) as figure:
        axes: Axes = figure.subplots()
        for curve, style in zip(curves, _styles(), strict=False):
            markersize = 3.5 if len(curve.x) <= MAX_MARKERS else 0.0
            dashed = {**style, "linestyle": (0, (4, 1.5)), "alpha": 0.7, "markersize": 0.0}
            axes.plot(curve.x, curve.train, linewidth=1.4, **dashed)
            axes.plot(
                curve.x, curve.validation, linewidth=1.8, label=curve.label, **{**style, "markersize": markersize}
            )
            if curve.test is not None and len(curve.x):
                star = {"color": style["color"], "marker": "*", "markersize": 13, "markeredgecolor": "white"}
                axes.plot(curve.x[-1:], [curve.test], linestyle="none", zorder=5, **star)
        for name, line in (("training", {"linestyle": (0, (4, 1.5))}), ("validation", {"linestyle": "-"})):
            axes.plot([], [], color="#737373", label=name, **line)
        if any(curve.test is not None for curve in curves):
            axes.plot([], [], color="#737373", marker="*", markersize=11, linestyle="none", label="test, at the end")
        _finish(axes, metric, x, published)


def draw_results(
    results: Mapping[str, Sequence[Point]], published: Sequence[Published], metric: MetricInfo, path: Path
) -> None:
    """Draw the final values of runs without epochs in one PNG: a row for each run, with its intervals.

    Args:
        results: Values by the name of the split; x is the name of the run.
        published: Published values, drawn as vertical lines.
        metric: The metric.
        path: PNG to write.
    """
    names = list(dict.fromkeys(point.x for points in results.values() for point in points))
    with save_figure(path, (SIZE_INCHES[0], 1.4 + 0.55 * len(names))) as figure:
        axes: Axes = figure.subplots()
        for place, (split, points) in enumerate(results.items()):
            rows = [names.index(point.x) + 0.22 * (place - (len(results) - 1) / 2) for point in points]
            values = [point.value for point in points]
            errors = [[point.value - point.low for point in points], [point.high - point.value for point in points]]
            style: Any = {"color": COLORS[place], "marker": MARKERS[place], "markersize": 5, "capsize": 3}
            axes.errorbar(values, rows, xerr=errors, label=split, linestyle="none", **style)
        for one in published:
            axes.axvline(one.value, color=GUIDE, linewidth=1.1, linestyle=(0, (1, 1.5)), label=one.name)
        axes.set_yticks(range(len(names)), [str(name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        format_axes(axes, metric, axes.xaxis)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)


def draw_final_values(
    series: Mapping[str, Sequence[Point]],
    published: Sequence[Published],
    metric: MetricInfo,
    title: str,
    x: str,
    path: Path,
) -> None:
    """Draw final values over a quantity in one PNG: a line for each series, by its name.

    Args:
        series: Points in the order of x; the positions are those of the first appearance if x is not a number.
        published: Published values, drawn as horizontal lines.
        metric: The metric.
        title: Title of the axis of the metric.
        x: Title of the other axis.
        path: PNG to write.
    """
    names = list(dict.fromkeys(point.x for points in series.values() for point in points))
    is_numeric = all(isinstance(name, int | float) for name in names)
    numbers = [float(name) for name in names] if is_numeric else list(map(float, range(len(names))))
    range_of_x = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    with save_figure(path, SIZE_INCHES) as figure:
        axes: Axes = figure.subplots()
        for number, ((label, points), style) in enumerate(zip(series.items(), _styles(), strict=False)):
            places = [float(point.x) if is_numeric else names.index(point.x) for point in points]
            values = [point.value for point in points]
            errors = [[point.value - point.low for point in points], [point.high - point.value for point in points]]
            style = {**style, "markersize": 5, "capsize": 3, "linewidth": 1.8}
            places = _dodge(places, range_of_x, DODGE * (number - (len(series) - 1) / 2))
            axes.errorbar(places, values, errors, label=label or None, **style)
        if not is_numeric:
            axes.set_xticks(range(len(names)), [str(name) for name in names])
        elif _spans_decades(*range_of_x):
            axes.set_xscale("log")
            axes.set_xticks(numbers, [f"{number:g}" for number in numbers])
            axes.set_xticks([], minor=True)
        elif len(names) <= MAX_TICKS:
            axes.set_xticks(numbers, [f"{number:g}" for number in numbers])
        _finish(axes, metric, x, published)
        axes.set_ylabel(title)


def draw_best_so_far(
    series: Mapping[str, Sequence[Point]], published: Sequence[Published], metric: MetricInfo, title: str, path: Path
) -> None:
    """Draw the best value so far over the number of trials in one PNG: steps for each search, by its name.

    Args:
        series: Points in the order of the trials; their extremes are drawn as an area.
        published: Published values, drawn as horizontal lines.
        metric: The metric.
        title: Name of the metric with that of its split.
        path: PNG to write.
    """
    with save_figure(path, SIZE_INCHES) as figure:
        axes: Axes = figure.subplots()
        for (label, points), style in zip(series.items(), _styles(), strict=False):
            trials = [float(point.x) for point in points]
            style = {**style, "markersize": 4.0, "linewidth": 1.8, "drawstyle": "steps-post"}
            axes.plot(trials, [point.value for point in points], label=label, **style)
            limits = ([point.low for point in points], [point.high for point in points])
            axes.fill_between(trials, *limits, color=style["color"], alpha=0.15, linewidth=0, step="post")
        _finish(axes, metric, "trials", published)
        axes.set_ylabel(f"best {title} so far")


def _styles() -> Any:
    """Return an endless iterator of colors and markers."""
    return ({"color": color, "marker": marker} for color, marker in cycle(zip(COLORS, MARKERS, strict=False)))


def _spans_decades(low: float, high: float) -> bool:
    """Return whether two numbers above 0 differ by a factor of 20 or more, so that their axis is logarithmic."""
    return low > 0 and high / low >= 20


def _dodge(places: Sequence[float], range_of_x: tuple[float, float], fraction: float) -> list[float]:
    """Return positions that are moved by a fraction of their axis."""
    low, high = range_of_x
    if _spans_decades(low, high):
        return [place * (high / low) ** fraction for place in places]
    return [place + fraction * ((high - low) or 1.0) for place in places]


def _finish(axes: Axes, metric: MetricInfo, x: str, published: Sequence[Published]) -> None:
    """Draw published values, scales, grid and legend."""
    from matplotlib.ticker import MaxNLocator

    for one in published:
        text = f"{one.name}: {percent(one.value) if metric.is_fraction else f'{one.value:g}'}"
        axes.axhline(one.value, color=GUIDE, linewidth=1.1, linestyle=(0, (1, 1.5)))
        at_right = axes.get_yaxis_transform()
        axes.annotate(text, (1.0, one.value), (-3, 3), at_right, "offset points", ha="right", fontsize=9)
    axes.set_xlabel(x)
    if x in ("epoch", "trials"):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    format_axes(axes, metric)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
