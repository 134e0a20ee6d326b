"""Draw a learning rate range test: the loss over the learning rate, with the useful range and the suggested rate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.catalogue.metrics import MetricInfo
from cnncli.report.curves import format_axes
from cnncli.report.figures import BLUE, GUIDE, VERMILION, save_figure
from cnncli.training.rate_range import RateRange

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (8.0, 5.0)
TOP = 1.6
"""Multiple of the first loss up to which the axis reaches, so that the divergence does not flatten the rest."""


def draw_rate_range(found: RateRange, configured: float, path: Path) -> None:
    """Draw a range test as a PNG or SVG, with the learning rate of the config."""
    rates = [point.learning_rate for point in found.points]
    with save_figure(path, SIZE_INCHES) as figure:
        axes: Axes = figure.subplots()
        losses = [point.loss for point in found.points]
        axes.plot(rates, losses, ".", color=BLUE, alpha=0.35, label="loss of a batch")
        smoothed = [point.smoothed for point in found.points]
        axes.plot(rates, smoothed, color=VERMILION, linewidth=1.8, label="smoothed loss")
        if found.low is not None and found.high is not None:
            axes.axvspan(found.low, found.high, color=VERMILION, alpha=0.12, linewidth=0, label="useful range")
        if found.suggested is not None:
            label = f"suggested: {found.suggested:g}"
            axes.axvline(found.suggested, color=VERMILION, linestyle=(0, (4, 1.5)), linewidth=1.4, label=label)
        axes.axvline(
            configured, color=GUIDE, linestyle=(0, (1, 1.5)), linewidth=1.4, label=f"of the config: {configured:g}"
        )
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        format_axes(axes, MetricInfo("loss"))
        if smoothed:
            axes.set_ylim(0.0, TOP * smoothed[0])
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5))
