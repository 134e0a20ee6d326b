"""Draw the networks of the catalogue: accuracy over multiply-adds and parameters, and the ILSVRC results by year."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cnncli.catalogue.imagenet_results import HUMAN_ERROR, ILSVRC, MULTIPLY_ADDS
from cnncli.catalogue.networks import NetworkInfo
from cnncli.report.figures import BLUE, COLORS, GRID, VERMILION, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (15.0, 12.5)
PLACES: tuple[tuple[tuple[int, int], Literal["left", "right"]], ...] = (
    ((4, 4), "left"),
    ((4, -9), "left"),
    ((-4, 4), "right"),
    ((-4, -9), "right"),
    ((3, 10), "left"),
    ((3, -15), "left"),
    ((-3, 10), "right"),
    ((-3, -15), "right"),
    ((8, 17), "left"),
    ((8, -22), "left"),
    ((-8, 17), "right"),
    ((-8, -22), "right"),
)
"""Offsets of a label from its point, in points of 1/72 inch, with the alignment of its text."""
LINES = ("-", "--", ":")
"""Line styles of families that share a color."""
WINNER, OTHER = BLUE, "#A9CCE3"


def draw_backbones(networks: Sequence[NetworkInfo], path: Path) -> None:
    """Draw accuracies of the networks that have one, and the results of ILSVRC, as a PNG or SVG."""
    with save_figure(path, SIZE_INCHES) as figure:
        top = figure.add_gridspec(2, 2, height_ratios=(1.7, 1))
        by_cost, by_size, years = (figure.add_subplot(place) for place in (top[0, 0], top[0, 1], top[1, :]))
        known = [info for info in networks if info.top1 is not None]
        costs = [info for info in known if info.name in MULTIPLY_ADDS]
        _draw_accuracies(by_cost, costs, [MULTIPLY_ADDS[info.name] / 1e9 for info in costs])
        _draw_accuracies(by_size, known, [info.parameters / 1e6 for info in known])
        by_cost.set_xlabel("multiply-adds of one image with top (billions)")
        by_size.set_xlabel("parameters with top (millions)")
        handles, labels = by_size.get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=8, loc="outside right upper", frameon=False)
        _draw_years(years)


def family(name: str) -> str:
    """Return the family of a network: its name without depth or size.

    >>> [family(name) for name in ("ResNet50V2", "EfficientNetB0", "EfficientNetV2S", "ConvNeXtXLarge", "MobileNet")]
    ['ResNet V2', 'EfficientNet', 'EfficientNetV2', 'ConvNeXt', 'MobileNet']
    """
    if name.startswith(("EfficientNetV2", "MobileNetV3")):
        return re.match(r".*?V\d", name)[0]  # type: ignore[index]
    match = re.fullmatch(r"([A-Za-z]+?)(B?\d+|Tiny|Small|Base|X?Large|Mobile)(V2)?", name)
    return f"{match[1]} V2" if match and match[3] else match[1] if match else name


def _draw_accuracies(axes: Axes, networks: Sequence[NetworkInfo], values: Sequence[float]) -> None:
    """Draw top-1 accuracies over values on a logarithmic scale, with a line for each family."""
    found = sorted(zip(networks, values, strict=True), key=lambda pair: (family(pair[0].name), pair[1]))
    groups = [(name, list(items)) for name, items in groupby(found, key=lambda pair: family(pair[0].name))]
    axes.set_xscale("log")
    labels = []
    for place, (name, items) in enumerate(groups):
        x, y = [value for _, value in items], [info.top1 or 0.0 for info, _ in items]
        style: Any = {"color": COLORS[place % len(COLORS)], "markersize": 5, "linewidth": 1.2}
        style |= {"linestyle": LINES[place // len(COLORS) % len(LINES)]}
        axes.plot(x, y, marker="os^DvPX"[place % 7], label=name if len(items) > 1 else items[0][0].name, **style)
        for info, value in items:
            short = info.name.removeprefix(name.removesuffix(" V2"))
            text = short.removesuffix("V2") if len(items) > 1 else info.name
            labels.append((text, (value, info.top1 or 0.0)))
    _annotate(axes, labels)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("top-1 accuracy on ImageNet (%)")
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _annotate(axes: Axes, labels: Sequence[tuple[str, tuple[float, float]]]) -> None:
    """Write labels beside their points, each in the first of `PLACES` where it covers no other label and no point."""
    from matplotlib.transforms import Bbox

    figure = axes.figure
    axes.autoscale_view()
    figure.canvas.draw()  # fixes the scales, from which the places of the texts follow
    points = axes.transData.transform([point for _, point in labels])
    taken = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in points]
    for text, point in labels:
        note = axes.annotate(text, point, PLACES[0][0], textcoords="offset points", fontsize=6.5)
        boxes = []
        for offset, alignment in PLACES:
            note.set_position(offset)
            note.set_horizontalalignment(alignment)
            boxes.append(note.get_window_extent())
            if not any(boxes[-1].overlaps(other) for other in taken):
                break
        else:
            note.set_position(PLACES[0][0])
            note.set_horizontalalignment(PLACES[0][1])
            boxes = boxes[:1]
        taken.append(boxes[-1])


def _draw_years(axes: Axes) -> None:
    """Draw the top-5 errors of ILSVRC as bars, winners in dark."""
    places = range(len(ILSVRC))
    colors = [WINNER if entry.is_winner else OTHER for entry in ILSVRC]
    bars = axes.bar(places, [entry.top5_error for entry in ILSVRC], color=colors, width=0.7)
    axes.bar_label(bars, [f"{entry.top5_error:g}" for entry in ILSVRC], fontsize=9, padding=2)
    axes.set_xticks(places, [f"{entry.name}\n{entry.year}" for entry in ILSVRC], fontsize=9)
    axes.axhline(HUMAN_ERROR, color=VERMILION, linewidth=1, linestyle=(0, (4, 2)))
    axes.annotate(
        f"human {HUMAN_ERROR} %", (len(ILSVRC) - 0.55, HUMAN_ERROR), (0, 3), textcoords="offset points", fontsize=9,
        ha="right", color=VERMILION,
    )  # fmt: skip
    axes.set_ylabel("top-5 error (%)")
    axes.set_title("ILSVRC: winners by year, and runners-up (light); several networks and crops", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
