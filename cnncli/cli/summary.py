"""`cnncli summary`: layers, shapes, parameters, multiply-adds and memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli.cli.options import OUT_FILE, console_options, example, json_option, print_json
from cnncli.errors import Message
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import kilobytes

if TYPE_CHECKING:
    from cnncli.catalogue.windows import Pair
    from cnncli.networks.arithmetic import LayerNumbers
    from cnncli.recipes.summary import LayerComparison, Summary

NOTHING = "–"
OPTIONAL = ("receptive field", "kernel", "memory KB", "trainable", "multiply-adds")
"""Columns that a narrow terminal omits, the first one first."""

FORMULAS = {
    "output": "output size",
    "receptive_field": "receptive field",
    "parameters": "parameters",
    "without_biases": "without biases",
    "multiply_adds": "multiply-adds",
    "memory": "memory",
}
"""Names of the formulas that --why prints, in order."""


@click.command(epilog=example("cnncli summary ResNet50 VGG16"))
@click.argument("words", metavar="CONFIG|NETWORK... [KEY=VALUE]...", nargs=-1, required=True)
@click.option("--top", is_flag=True, help="Keep the published top of networks, usually of 1,000 classes.")
@click.option("--wide", is_flag=True, help="Print all columns, and the layers of each network if there are several.")
@click.option("--why", is_flag=True, help="Print the formula of each number.")
@click.option(
    "--plot",
    type=OUT_FILE,
    metavar="FILE",
    help="Draw the graph of the layers with bars of their numbers as .png or .svg; --wide draws every layer.",
)
@json_option
@console_options
def command(
    words: tuple[str, ...], top: bool, wide: bool, why: bool, plot: Path | None, as_json: bool, console: Console
) -> None:
    """Print or compare the layers of configs and networks.

    A config stands for its classifier, and a network for its backbone, without top. For a config, the last column shows
    which layers the last stage trains. The names of layers can be used in training.unfreeze and backbone.output_layer.
    Settings change the config or network before them, e.g. data.image_size=160 or backbone.output_layer=NAME; name=NAME
    is the heading of its column in a comparison.
    """
    from cnncli.recipes.summary import compare, draw, summarize
    from cnncli.storage.atomic import output_path

    plot = output_path(plot) if plot else None
    summaries = [summarize(source, overrides, top=top) for source, overrides in _sources(words)]
    if plot:
        draw(summaries, plot, whole=wide)
    if as_json:
        print_json(summaries[0] if len(summaries) == 1 else compare(summaries))
        return
    for summary in summaries if wide or why or len(summaries) == 1 else ():
        if len(summaries) > 1:
            console.print(summary.name)
        if why:
            _print_formulas(summary)
        else:
            _print_layers(summary, wide, console)
    if len(summaries) == 1:
        _print_totals(summaries[0], console)
    else:
        _print_comparison(compare(summaries), console)
    _print_conventions(console)


def _sources(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return each config or network with the settings behind it."""
    sources: list[tuple[str, list[str]]] = []
    for word in words:
        if "=" not in word or os.path.exists(word):  # noqa: PTH110  a setting can be too long for a path
            sources.append((word, []))
        elif sources:
            sources[-1][1].append(word)
        else:
            text = f"{word}: a setting must follow the config or network that it changes."
            raise click.UsageError(Message("usage-argument-missing", text, received=word))
    return sources


def _print_layers(summary: Summary, wide: bool, console: Console) -> None:
    """Print a line per layer: a selection of columns, which a narrow terminal reduces, or all of them."""
    layers = (*summary.layers, *summary.auxiliary_layers)
    rows = [_cells(layer) for layer in layers]
    columns = list(rows[0])
    if not wide:
        hidden = {"input", "stride", "padding", "dilation", "groups", "without biases"}
        rows = [{**row, "kernel": _window_text(layer)} for row, layer in zip(rows, layers, strict=True)]
        columns = [name for name in columns if name not in hidden]
    console.table(columns, [[row[name] for name in columns] for row in rows], optional=() if wide else OPTIONAL)


def _cells(layer: LayerNumbers) -> dict[str, str]:
    """Return all columns of a layer."""
    return {
        "layer": layer.name,
        "type": layer.type,
        "input": "×".join(map(str, layer.input_shape)),
        "kernel": _pair(layer.kernel),
        "stride": _pair(layer.stride),
        "padding": _padding(layer),
        "dilation": _pair(layer.dilation),
        "groups": f"{layer.groups or ''}",
        "output": "×".join(map(str, layer.output_shape)),
        "receptive field": _pair(layer.receptive_field) or NOTHING,
        "memory KB": _rounded(layer.memory_kb),
        "parameters": f"{layer.parameters:,}",
        "without biases": f"{layer.parameters - layer.biases:,}",
        "multiply-adds": f"{layer.multiply_adds:,}",
        "trainable": "" if not layer.parameters else "yes" if layer.trainable else "no",
    }


def _pair(pair: Pair | None) -> str:
    """Return a height and width as one number if they are equal."""
    if pair is None:
        return ""
    return f"{pair[0]}" if pair[0] == pair[1] else f"{pair[0]}×{pair[1]}"


def _padding(layer: LayerNumbers) -> str:
    """Return the zeros at each side; `0/1` are those before and after the pixels."""
    if layer.padding is None:
        return ""
    sides = [f"{before}" if before == after else f"{before}/{after}" for before, after in layer.padding]
    return sides[0] if sides[0] == sides[1] else "×".join(sides)


def _window_text(layer: LayerNumbers) -> str:
    """Return kernel, stride and padding in one cell, without those that change nothing."""
    if layer.kernel is None:
        return ""
    parts = ["×".join(map(str, layer.kernel))]
    parts += [f"/{_pair(layer.stride)}"] if layer.stride != (1, 1) else []
    parts += [f" pad {_padding(layer)}"] if _padding(layer) != "0" else []
    parts += [f" dilation {_pair(layer.dilation)}"] if layer.dilation != (1, 1) else []
    return "".join(parts)


def _rounded(number: float) -> str:
    return f"{number:,.0f}" if number >= 9.95 else f"{number:.2g}"


def _print_formulas(summary: Summary) -> None:
    """Print the arithmetic of each number of each layer."""
    for layer in (*summary.layers, *summary.auxiliary_layers):
        click.echo(f"{layer.name} ({layer.type}): {'×'.join(map(str, layer.output_shape))}")
        for name, title in FORMULAS.items():
            if name in layer.formulas:
                click.echo(f"  {title:<16}{layer.formulas[name]}")


def _print_totals(summary: Summary, console: Console) -> None:
    console.print(
        f"parameters {summary.parameters:,}: trainable {summary.trainable_parameters:,}, "
        f"frozen {summary.frozen_parameters:,}; without biases {summary.parameters_without_biases:,}"
    )
    if summary.auxiliary_layers:
        console.print(
            f"in training, with auxiliary classifiers: {summary.parameters_in_training:,} parameters; "
            "the other totals are those of the network without them"
        )
    if summary.parameters_with_top is not None:
        top = f"the published top of {summary.top_classes:,} classes"
        console.print(f"with {top}: {summary.parameters_with_top:,} parameters (--top)")
    of_head = summary.multiply_adds_of_head
    below = f"; below the head {summary.multiply_adds - of_head:,}" if of_head else ""
    console.print(
        f"multiply-adds {summary.multiply_adds:,}, with pooling {summary.multiply_adds_with_pooling:,}{below}"
    )
    console.print(
        f"memory of convolutions and dense layers {kilobytes(summary.memory_kb)} KB, with pooling "
        f"{kilobytes(summary.memory_with_pooling_kb)} KB, of all layers {kilobytes(summary.memory_of_all_kb)} KB"
    )


def _print_comparison(comparison: LayerComparison, console: Console) -> None:
    """Print a line per total, with a column and, except for the first, a ratio per network."""
    titles = {
        "parameters": "parameters",
        "parameters_without_biases": "without biases",
        "multiply_adds": "multiply-adds",
        "multiply_adds_with_pooling": "with pooling",
        "memory_kb": "memory KB",
        "memory_with_pooling_kb": "with pooling",
        "memory_of_all_kb": "of all layers",
    }
    networks = comparison.networks
    headings = ["", networks[0].name]
    for network in networks[1:]:
        headings += [network.name, "ratio"]
    if any(network.auxiliary_layers for network in networks):
        titles = {"parameters": "parameters", "parameters_in_training": "in training", **titles}
    rows = []
    for total, title in titles.items():
        row = [title, f"{getattr(networks[0], total):,.0f}"]
        for network, ratio in zip(networks[1:], comparison.ratios[total][1:], strict=True):
            row += [f"{getattr(network, total):,.0f}", f"{ratio:.3g}" if ratio == ratio else NOTHING]
        rows.append(row)
    sizes = [["×".join(map(str, network.input_shape)), ""] for network in networks]
    rows.insert(0, ["input", *[cell for pair in sizes for cell in pair][:-1]])
    console.table(headings, rows)


def _print_conventions(console: Console) -> None:
    from cnncli.recipes.summary import CONVENTIONS

    for line in CONVENTIONS:
        console.print(line)
