"""Curves of loss and accuracy over the epochs of a run, as a PNG; several runs side by side on common scales.

Train and validation differ in color (blue and vermilion of Okabe and Ito's palette, which color-blind readers tell
apart), in dash and in marker. Stages are divided by named lines, and the best epoch is ringed and stated in numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cnncli.report.figures import png_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Quantity = Literal["loss", "accuracy"]
QUANTITIES: tuple[Quantity, Quantity] = ("loss", "accuracy")

TRAIN: dict[str, Any] = {"color": "#0072B2", "linestyle": (0, (4, 1.5)), "marker": "o", "label": "train"}
VALIDATION: dict[str, Any] = {"color": "#D55E00", "linestyle": "-", "marker": "s", "label": "validation"}
RING: dict[str, Any] = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "markeredgecolor": "black"}
PANEL_INCHES = (5.0, 3.6)
MOST_MARKERS = 40
NARROW_STAGE = 0.2
"""Share of the axis below which a stage's name may run into its neighbour's."""


class EpochFigures(Protocol):
    """What the curves need to know of one epoch; a row of a run's history has it."""

    @property
    def stage(self) -> str:
        """Name of its stage."""

    @property
    def loss(self) -> float:
        """On the training images."""

    @property
    def accuracy(self) -> float:
        """On the training images, 0-1."""

    @property
    def val_loss(self) -> float:
        """On the validation images."""

    @property
    def val_accuracy(self) -> float:
        """On the validation images, 0-1."""


def draw_curves(rows: Sequence[EpochFigures], path: Path, best: int | None = None) -> None:
    """Draw a run's loss and accuracy beside each other.

    Args:
        rows: one per epoch, in their order; epochs count from 1 across the stages.
        path: of the PNG, which is written in one step.
        best: the best epoch; default: the first with the lowest validation loss.
    """
    width, height = PANEL_INCHES
    with png_figure(path, (2 * width, height)) as figure:
        for axes, quantity in zip(figure.subplots(1, 2), QUANTITIES, strict=True):
            _draw_panel(axes, quantity, rows, len(rows), best)


def draw_curves_side_by_side(runs: Sequence[tuple[str, Sequence[EpochFigures]]], path: Path) -> None:
    """Draw the curves of several runs, a column each, on common scales.

    Args:
        runs: title and epochs of each, at least one.
        path: of the PNG, which is written in one step.
    """
    width, height = PANEL_INCHES
    epochs = max(len(rows) for _, rows in runs)
    room_for_stages = 26 if any(_is_staged(rows) for _, rows in runs) else 8
    with png_figure(path, (len(runs) * width, 2 * height)) as figure:
        grid = figure.subplots(2, len(runs), sharex=True, sharey="row", squeeze=False)
        for quantity, line in zip(QUANTITIES, grid, strict=True):
            for (title, rows), axes in zip(runs, line, strict=True):
                _draw_panel(axes, quantity, rows, epochs)
                axes.label_outer()
                if quantity == QUANTITIES[0]:
                    axes.set_title(title, loc="left", fontweight="bold", pad=room_for_stages)


def best_epoch(rows: Sequence[EpochFigures]) -> int | None:
    """The first epoch, from 1, with the lowest validation loss; None where no row has a number."""
    numbers = [epoch for epoch, row in enumerate(rows, start=1) if math.isfinite(row.val_loss)]
    return min(numbers, key=lambda epoch: rows[epoch - 1].val_loss, default=None)


def _draw_panel(
    axes: Axes, quantity: Quantity, rows: Sequence[EpochFigures], last_epoch: int, best: int | None = None
) -> None:
    """One quantity of one run: train and validation, stages, best epoch."""
    epochs = range(1, len(rows) + 1)
    markersize = 4.0 if last_epoch <= MOST_MARKERS else 0.0
    train, validation = [getattr(row, quantity) for row in rows], [getattr(row, f"val_{quantity}") for row in rows]
    axes.plot(epochs, train, linewidth=1.6, markersize=markersize, **TRAIN)
    axes.plot(epochs, validation, linewidth=1.8, markersize=markersize, **VALIDATION)
    _ring_best(axes, quantity, validation, best_epoch(rows) if best is None else best)
    _dress(axes, quantity, last_epoch)
    _divide_stages(axes, rows, last_epoch)
    axes.legend(frameon=True, framealpha=0.85, edgecolor="none", fontsize=9)


def _ring_best(axes: Axes, quantity: Quantity, validation: Sequence[float], best: int | None) -> None:
    """A ring around the best epoch, its figure in the legend."""
    if best is None:
        return
    value = validation[best - 1]
    figure = f"{100 * value:.1f} %" if quantity == "accuracy" else f"{value:.4f}"
    axes.plot([best], [value], linestyle="none", zorder=5, label=f"best epoch {best}: {figure}", **RING)


def _dress(axes: Axes, quantity: Quantity, last_epoch: int) -> None:
    """Scales, grid and labels."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlim(0.5, max(last_epoch, 1) + 0.5)
    axes.margins(y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    if quantity == "accuracy":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.grid(color="#d9d9d9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _stage_starts(rows: Sequence[EpochFigures]) -> list[tuple[str, int]]:
    """Each stage's name and the epoch it begins with, from 1."""
    groups = groupby(range(len(rows)), key=lambda index: rows[index].stage)
    return [(stage, next(indexes) + 1) for stage, indexes in groups]


def _is_staged(rows: Sequence[EpochFigures]) -> bool:
    """Whether there is more than one stage to tell apart."""
    return len(_stage_starts(rows)) > 1


def _divide_stages(axes: Axes, rows: Sequence[EpochFigures], last_epoch: int) -> None:
    """A line where a stage begins and its name above; names take two levels where stages are short."""
    if not _is_staged(rows):
        return
    starts = _stage_starts(rows)
    ends = [start for _, start in starts[1:]]
    is_narrow = any((end - start) < NARROW_STAGE * last_epoch for (_, start), end in zip(starts, ends, strict=False))
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
