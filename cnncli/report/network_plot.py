"""Draw networks: a graph of their layers, with bars for memory, parameters and multiply-adds beside each layer.

A layer is a row with a box; lines on its left lead from the layers whose outputs it takes. Normalization, activations
and the like share the row of the layer before them. Where a network has many rows, each part between two layers through
which everything passes, such as a residual block or an inception module, becomes one row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncli.networks.arithmetic import LayerNumbers
from cnncli.networks.receptive_field import Shape
from cnncli.report.figures import COLORS, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_ROWS = 80
"""Maximum number of rows of a network that is drawn layer by layer."""

ROW, LANE, BAR, GAP, MARGIN = 0.27, 0.16, 1.35, 0.15, 0.3
"""Height of a row, and widths of a line, a bar chart, a gap and a margin, in inches."""
BOLD, PLAIN = 0.068, 0.057
"""Widths of a character in bold, and in other texts of a box, in inches."""
TITLE, STRIP = 0.75, 1.5
"""Height of the titles, and of the totals of several networks, in inches."""

QUANTITIES = {"memory_kb": "memory (KB)", "parameters": "parameters", "multiply_adds": "multiply-adds"}
ACTIVATIONS = ("activation", "Activation", "ReLU", "LeakyReLU", "PReLU")
SHORT = {"BatchNormalization": "BN", "LayerNormalization": "LN", "Activation": "activation"}
TRAINED, PARTLY, FROZEN, EMPTY = "#E69F00", "#F5D58A", "#9CC8E8", "#E4E4E4"
LEGEND = {TRAINED: "trainable", PARTLY: "partly trainable", FROZEN: "frozen", EMPTY: "no parameters"}


@dataclass(frozen=True)
class Row:
    """A layer, with layers that share its row, or a block of several.

    Attributes:
        name, detail: Text in bold, and after it.
        shape: Shape of the output.
        color: Color of the box; see `LEGEND`.
        inputs: Positions of the rows whose outputs it takes.
        memory_kb, parameters, multiply_adds: Sums over its layers. Layers that share its row have no memory of their
            own.
    """

    name: str
    detail: str
    shape: Shape
    color: str
    inputs: tuple[int, ...]
    memory_kb: float
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Drawing:
    """A network to draw: its name, a line about it, its layers, and totals by quantity."""

    name: str
    detail: str
    layers: Sequence[LayerNumbers]
    totals: Mapping[str, float]


def draw_networks(networks: Sequence[Drawing], path: Path, *, whole: bool = False) -> None:
    """Draw networks beside each other as a PNG or SVG, with bars at a common scale; `whole` draws every layer."""
    rows = [_rows(network.layers, whole) for network in networks]
    lanes = [_lanes(one) for one in rows]
    widths = [
        LANE * (max(1 + max(lane) for lane in found) + 1) + _box_width(one) + 3 * (BAR + GAP)
        for one, found in zip(rows, lanes, strict=True)
    ]
    strip = STRIP if len(networks) > 1 else 0.0
    height = strip + TITLE + ROW * max(map(len, rows)) + 2 * MARGIN
    width = sum(widths) + MARGIN * (len(networks) + 1)
    largest = {name: max(getattr(row, name) for one in rows for row in one) or 1 for name in QUANTITIES}
    with save_figure(path, (width, height)) as figure:
        figure.set_layout_engine("none")
        if strip:
            _draw_totals(figure, networks, (width, height))
        left = MARGIN
        for network, one, found, own, color in zip(networks, rows, lanes, widths, _colors(networks), strict=True):
            top = height - MARGIN - strip
            figure.text(left / width, (top - 0.12) / height, network.name, fontsize=13, fontweight="bold", va="center")
            figure.text(left / width, (top - 0.36) / height, network.detail, fontsize=8, color="#404040", va="center")
            _draw_network(figure, one, found, (left, top - TITLE, own), largest, color)
            left += own + MARGIN
        _draw_legend(figure, {row.color for one in rows for row in one}, height)


def _colors(networks: Sequence[Drawing]) -> list[str]:
    return [COLORS[place % len(COLORS)] for place in range(len(networks))]


# From layers to rows.


def _rows(layers: Sequence[LayerNumbers], whole: bool) -> list[Row]:
    rows = _fold(layers)
    return rows if whole or len(rows) <= MAX_ROWS else _join_blocks(rows)


def _fold(layers: Sequence[LayerNumbers]) -> list[Row]:
    """Return a row per layer, except for those that join the row before them, and for zero padding."""
    consumers = Counter(position for layer in layers for position in layer.inputs)
    rows: list[Row] = []
    row_of: dict[int, int] = {}
    for position, layer in enumerate(layers):
        before = [row_of[source] for source in layer.inputs]
        if layer.type == "ZeroPadding2D" and before:
            row_of[position] = before[0]
        elif _joins(layer, layers, consumers):
            row = rows[before[0]]
            follower = replace(_row(layer, ()), memory_kb=0)  # can be computed in place
            rows[before[0]] = _joined(row, [follower], f"{row.detail} + {SHORT.get(layer.type, layer.type)}")
            row_of[position] = before[0]
        else:
            row_of[position] = len(rows)
            rows.append(_row(layer, tuple(dict.fromkeys(before))))
    return rows


def _joins(layer: LayerNumbers, layers: Sequence[LayerNumbers], consumers: Mapping[int, int]) -> bool:
    """Return whether a layer follows another one without branches and keeps its shape."""
    if layer.kind != "other" or len(layer.inputs) != 1:
        return False
    before = layers[layer.inputs[0]]
    is_alone = consumers[layer.inputs[0]] == 1 and before.output_shape == layer.output_shape
    return is_alone and bool(before.inputs) and before.type != "ZeroPadding2D"


def _row(layer: LayerNumbers, inputs: tuple[int, ...]) -> Row:
    kernel = "" if layer.kernel is None else f" {'×'.join(map(str, layer.kernel))}"
    stride = "" if layer.stride is None or layer.stride == (1, 1) else f"/{'×'.join(map(str, sorted({*layer.stride})))}"
    color = EMPTY if not layer.parameters else TRAINED if layer.trainable else FROZEN
    numbers = layer.memory_kb, layer.parameters, layer.multiply_adds
    return Row(layer.name, f"{layer.type}{kernel}{stride}", layer.output_shape, color, inputs, *numbers)


def _joined(row: Row, others: Sequence[Row], detail: str) -> Row:
    """Return a row with the sums of several, and the shape of the last one."""
    every = [row, *others]
    colors = {one.color for one in every} - {EMPTY}
    return replace(
        row,
        detail=detail,
        shape=every[-1].shape,
        color=PARTLY if len(colors) > 1 else colors.pop() if colors else EMPTY,
        memory_kb=sum(one.memory_kb for one in every),
        parameters=sum(one.parameters for one in every),
        multiply_adds=sum(one.multiply_adds for one in every),
    )


def _join_blocks(rows: Sequence[Row]) -> list[Row]:
    """Join the rows between two rows through which everything passes, such as those of a residual block."""
    reach = [min((source for row in rows[end + 1 :] for source in row.inputs), default=end) for end in range(len(rows))]
    ends = [end for end, first in enumerate(reach) if first >= end]
    blocks: list[Row] = []
    start = 0
    for end in ends:
        block = rows[start : end + 1]
        inputs = (len(blocks) - 1,) if blocks else ()
        kinds = Counter(kind for row in block for kind in _kinds(row))
        detail = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(3))
        joined = replace(block[0], inputs=inputs) if len(block) == 1 else _joined(block[0], block[1:], detail)
        name = block[0].name if len(block) == 1 else f"… {block[-1].name}"
        blocks.append(replace(joined, name=name, inputs=inputs))
        start = end + 1
    return blocks


def _kinds(row: Row) -> list[str]:
    """Return the types of the layers that share a row, without activations, which have no weights."""
    kinds = [part.split()[0] for part in row.detail.split(" + ")]
    return [SHORT.get(kind, kind) for kind in kinds if kind not in ACTIVATIONS]


# Lines between rows.


def _lanes(rows: Sequence[Row]) -> list[tuple[int, ...]]:
    """Return for each row its own lane, then the lanes of its inputs, then those that are in use below it.

    A lane holds the output of a row until the last row that takes it.
    """
    last_use = {source: number for number, row in enumerate(rows) for source in row.inputs}
    lanes: list[int | None] = []
    found = []
    for number, row in enumerate(rows):
        inputs = [lanes.index(source) for source in row.inputs]
        for place in inputs:
            if last_use[lanes[place]] == number:  # type: ignore[index]
                lanes[place] = None
        own = lanes.index(None) if None in lanes else len(lanes)
        lanes += [None] * (own + 1 - len(lanes))
        lanes[own] = number if number in last_use else None
        found.append((own, *inputs, *(place for place, source in enumerate(lanes) if source is not None)))
    return found


def _draw_lines(axes: Axes, rows: Sequence[Row], lanes: Sequence[tuple[int, ...]]) -> None:
    """Draw lines as in `git log --graph`: vertical in the lane of an output, oblique into the row that takes it."""
    style: dict[str, Any] = {"color": "#707070", "linewidth": 1.1, "solid_capstyle": "round", "zorder": 1}
    own = [found[0] for found in lanes]
    for number, row in enumerate(rows):
        for source in row.inputs:
            x, y = [own[source], own[source], own[number]], [source, number - 1, number]
            axes.plot([(lane + 1) * LANE for lane in x], y, **style)
    axes.scatter(
        [(lane + 1) * LANE for lane in own], range(len(rows)), s=22, zorder=2, c=[row.color for row in rows],
        edgecolors="#505050", linewidths=0.8,
    )  # fmt: skip


# Drawing.


def _draw_network(
    figure: Figure,
    rows: Sequence[Row],
    lanes: Sequence[tuple[int, ...]],
    place: tuple[float, float, float],
    largest: Mapping[str, float],
    color: str,
) -> None:
    """Draw the graph and the bars of a network; `place` is its left, top and width in inches."""
    (left, top, own), (width, height) = place, figure.get_size_inches()
    tall, graph = ROW * len(rows), own - 3 * (BAR + GAP)

    def axes_at(x: float, wide: float) -> Axes:
        axes = figure.add_axes((x / width, (top - tall) / height, wide / width, tall / height))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        return axes

    axes = axes_at(left, graph)
    axes.set_xlim(0, graph)
    axes.axis("off")
    _draw_lines(axes, rows, lanes)
    _draw_boxes(axes, rows, graph - _box_width(rows), graph)
    for number, (quantity, title) in enumerate(QUANTITIES.items()):
        bars = axes_at(left + graph + GAP + number * (BAR + GAP), BAR)
        _draw_bars(bars, [getattr(row, quantity) for row in rows], largest[quantity], title, color)


def _draw_boxes(axes: Axes, rows: Sequence[Row], left: float, right: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    for number, row in enumerate(rows):
        box = FancyBboxPatch(
            (left + 0.03, number - 0.38), right - left - 0.06, 0.76, boxstyle="round,pad=0,rounding_size=0.04",
            facecolor=row.color, edgecolor="#808080", linewidth=0.6, mutation_aspect=1 / ROW,
        )  # fmt: skip
        axes.add_patch(box)
        axes.text(left + GAP, number, row.name, fontsize=7, fontweight="bold", va="center")
        axes.text(left + GAP + _name_width(rows), number, row.detail, fontsize=6.5, va="center")
        axes.text(right - GAP, number, _shape(row), fontsize=7, va="center", ha="right")


def _box_width(rows: Sequence[Row]) -> float:
    """Return the width of boxes for the longest texts, in inches."""
    return (
        3 * GAP
        + _name_width(rows)
        + PLAIN * (max(len(row.detail) for row in rows) + max(len(_shape(row)) for row in rows))
    )


def _name_width(rows: Sequence[Row]) -> float:
    return GAP + BOLD * max(len(row.name) for row in rows)


def _shape(row: Row) -> str:
    return "×".join(map(str, row.shape))


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _draw_bars(axes: Axes, values: Sequence[float], largest: float, title: str, color: str) -> None:
    """Draw a bar per row, with its value behind it, or inside it where there is no space."""
    axes.barh(range(len(values)), values, height=0.7, color=color)
    axes.set_xlim(0, largest)
    axes.set_title(title, fontsize=8, pad=4)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    text = _thousands if "KB" in title else short_number
    for number, value in enumerate(values):
        if value:
            is_inside = value > 0.6 * largest
            axes.annotate(
                text(value), (value, number), (-2 if is_inside else 2, 0), textcoords="offset points",
                fontsize=6.5, va="center", ha="right" if is_inside else "left",
                color="white" if is_inside else "black",
            )  # fmt: skip


def _thousands(value: float) -> str:
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.2g}"


def short_number(value: float) -> str:
    """Return a number with three digits and k, M or G.

    >>> [short_number(value) for value in (3.9, 784, 12_544, 37_752_832, 15.47e9)]
    ['3.9', '784', '12.5 k', '37.8 M', '15.5 G']
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}" if value < 999.5 * size else f"{value / size:.0f} {unit}"
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def _draw_totals(figure: Figure, networks: Sequence[Drawing], size: tuple[float, float]) -> None:
    """Draw the totals of each network, with their ratio to those of the first, at the top of the figure."""
    width, height = size
    wide = (width - 2 * MARGIN) / 3
    for number, (quantity, title) in enumerate(QUANTITIES.items()):
        x, y = MARGIN + number * wide + 0.9, height - MARGIN - STRIP + 0.35
        axes = figure.add_axes((x / width, y / height, (wide - 1.9) / width, (STRIP - 0.65) / height))
        values = [network.totals[quantity] for network in networks]
        axes.barh(range(len(values)), values, color=_colors(networks), height=0.7)
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.set_yticks(range(len(values)), [_shorten(network.name, 14) for network in networks], fontsize=7)
        axes.set_xticks([])
        axes.set_title(f"total {title}", fontsize=8, pad=4)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        for row, value in enumerate(values):
            ratio = f"  (×{value / values[0]:.3g})" if row and values[0] else ""
            text = f"{_thousands(value) if 'KB' in title else short_number(value)}{ratio}"
            axes.annotate(text, (value, row), (3, 0), textcoords="offset points", fontsize=7, va="center")


def _draw_legend(figure: Figure, colors: set[str], height: float) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=color, edgecolor="#808080", label=LEGEND[color]) for color in LEGEND if color in colors]
    place = (0.5, 0.04 / height)
    figure.legend(handles=handles, loc="lower center", bbox_to_anchor=place, ncols=4, fontsize=7, frameon=False)
