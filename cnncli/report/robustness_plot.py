"""Draw the accuracy of a run over the strength of a perturbation as a PNG."""

from __future__ import annotations

from pathlib import Path

from cnncli.inference.robustness import Robustness
from cnncli.report.curves import TRAIN, VALIDATION_LINE
from cnncli.report.figures import GREEN, GRID, save_figure

SIZE_INCHES = (6.4, 4.2)


def draw_robustness(found: Robustness, title: str, path: Path) -> None:
    """Draw accuracy with its 95 % interval, probability of the true class, and fraction of unchanged predictions."""
    strengths = [point.strength for point in found.points]
    with save_figure(path, SIZE_INCHES) as figure:
        from matplotlib.ticker import PercentFormatter

        axes = figure.subplots()
        color = VALIDATION_LINE["color"]
        low, high = ([point.ci95[end] for point in found.points] for end in (0, 1))
        axes.fill_between(strengths, low, high, color=color, alpha=0.2, linewidth=0)
        lines = (
            ("accuracy", "accuracy, 95 % interval", "s", color, "-"),
            ("unchanged", "unchanged predictions", "o", TRAIN["color"], "--"),
            ("probability", "probability of the true class", "^", GREEN, ":"),
        )
        for name, label, marker, line_color, style in lines:
            values = [getattr(point, name) for point in found.points]
            axes.plot(strengths, values, marker=marker, color=line_color, linestyle=style, label=label)
        axes.axvline(0, color="#8c8c8c", linewidth=0.8)
        axes.set(title=title, xlabel=found.unit, ylim=(0, 1.03))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.grid(color=GRID, linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower left", frameon=True, framealpha=0.85, edgecolor="none", fontsize=9)
