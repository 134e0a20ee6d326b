"""Draw a learning curve: measured accuracies over the number of images, the fitted law, and its extrapolation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnncli.catalogue.metrics import MetricInfo
from cnncli.evaluation.learning_curve import LearningCurve
from cnncli.report.curves import format_axes
from cnncli.report.figures import BLUE, GUIDE, VERMILION, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (8.0, 5.0)
N_SIZES = 60


def draw_learning_curve(curve: LearningCurve, path: Path) -> None:
    """Draw a learning curve as a PNG or SVG: points with 95 % intervals, and the law with its band."""
    first, now, last = curve.points[0].size, curve.forecasts[0].size, curve.forecasts[-1].size
    sizes = np.geomspace(first, last, N_SIZES)
    band = [curve.fitted(size) for size in sizes.tolist()]
    with save_figure(path, SIZE_INCHES) as figure:
        axes: Axes = figure.subplots()
        low, high = [one.low for one in band], [one.high for one in band]
        axes.fill_between(sizes, low, high, color=VERMILION, alpha=0.18, linewidth=0)
        for part, style, label in (
            (sizes <= now, "-", "fitted power law"),
            (sizes >= now, (0, (4, 1.5)), "extrapolated, with 95 % interval"),
        ):
            values = [one.value for one, is_inside in zip(band, part, strict=True) if is_inside]
            axes.plot(sizes[part], values, color=VERMILION, linestyle=style, linewidth=1.8, label=label)
        x, values = [point.size for point in curve.points], [point.accuracy.value for point in curve.points]
        errors = [
            [point.accuracy.value - point.accuracy.low for point in curve.points],
            [point.accuracy.high - point.accuracy.value for point in curve.points],
        ]
        axes.errorbar(x, values, errors, color=BLUE, fmt="o", capsize=3, label="measured, with 95 % interval")
        axes.axvline(now, color=GUIDE, linewidth=1.1, linestyle=(0, (1, 1.5)))
        at_bottom = axes.get_xaxis_transform()
        axes.annotate(
            "all images", (now, 0.01), (-4, 0), at_bottom, "offset points", ha="right", fontsize=9, color=GUIDE
        )
        if curve.target:
            axes.axhline(curve.target[0], color=GUIDE, linewidth=1.1, linestyle=(0, (1, 1.5)))
        axes.set_xscale("log")
        ticks = [*x[:-1], *(forecast.size for forecast in curve.forecasts)]
        axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks], fontsize=9)
        axes.set_xticks([], minor=True)
        axes.set_xlabel(f"training {curve.unit}")
        format_axes(axes, MetricInfo("accuracy of held-out images", is_fraction=True))
        axes.legend(frameon=False, fontsize=9, loc="lower right")
