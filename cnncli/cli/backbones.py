"""`cnncli backbones`: list the networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cnncli.catalogue.imagenet_results import MULTIPLY_ADDS, PUBLISHED_ERRORS
from cnncli.catalogue.networks import NETWORKS, NetworkInfo
from cnncli.cli.options import OUT_FILE, console_options, example, json_option, print_json
from cnncli.terminal.console import Console

COLUMNS = (
    *("network", "parameters", "multiply-adds", "MB", "depth", "top-1 %", "top-5 %", "published top-5 error %"),
    *("input px", "weights here"),
)
FROM_SCRATCH = (
    *("network without weights", "parameters", "multiply-adds", "MB", "depth", "published top-5 error %", "input px"),
)
OPTIONAL = ("published top-5 error %", "depth", "MB", "multiply-adds")
"""Columns that a narrow terminal omits, the first one first."""


@click.command(epilog=example("cnncli backbones --json"))
@click.option(
    "--plot",
    type=OUT_FILE,
    metavar="FILE",
    help="Draw accuracy over multiply-adds and parameters, and the winners of ILSVRC, as .png or .svg.",
)
@json_option
@console_options
def command(plot: Path | None, as_json: bool, console: Console) -> None:
    """List the networks that a config can name.

    Parameters, multiply-adds and size include the published top, mostly of ImageNet's 1,000 classes. Multiply-adds are
    those of one image of the default height and width, the column input. Depth is the number of layers with parameters,
    of which batch normalization is one. Top-1 and top-5 are accuracies on ImageNet's validation images, with one
    network and one crop. The published top-5 error is that of other weights: a competition entry, often of several
    networks and crops, or for ResNets torchvision with one crop; --json has its source. The last column shows whether
    the ImageNet weights are already on this machine; others are downloaded when they are first needed. Networks in the
    second table have no weights and are trained from scratch.
    """
    from cnncli.networks.architectures import has_local_weights

    if plot:
        from cnncli.report.backbone_plot import draw_backbones
        from cnncli.storage.atomic import output_path

        draw_backbones(list(NETWORKS.values()), output_path(plot))
    networks = [(info, has_local_weights(info)) for info in NETWORKS.values()]
    if as_json:
        print_json([_facts(info, here) for info, here in networks])
    else:
        with_weights = [_cells(info, here) for info, here in networks if info.has_imagenet]
        console.table(COLUMNS, with_weights, optional=OPTIONAL)
        console.print("")
        others = [_scratch_cells(info) for info, _ in networks if not info.has_imagenet]
        console.table(FROM_SCRATCH, others, optional=OPTIONAL)


def _facts(info: NetworkInfo, here: bool) -> dict[str, Any]:
    names = ("name", "parameters", "size_mb", "depth", "top1", "top5", "input_size")
    return {
        **{name: getattr(info, name) for name in names},
        "weights_here": here,
        "multiply_adds": MULTIPLY_ADDS.get(info.name),
        "published_error": PUBLISHED_ERRORS.get(info.name),
    }


def _scratch_cells(info: NetworkInfo) -> tuple[str, ...]:
    name, parameters, cost, size, depth, _, _, error, side, _ = _cells(info, here=False)
    return name, parameters, cost, size, depth, error, side


def _cells(info: NetworkInfo, here: bool) -> tuple[str, ...]:
    error = PUBLISHED_ERRORS.get(info.name)
    return (
        info.name,
        f"{info.parameters:,}",
        f"{MULTIPLY_ADDS[info.name] / 1e9:.3g} G" if info.name in MULTIPLY_ADDS else "–",
        f"{info.size_mb:,.0f}",
        _or_dash(info.depth, "d"),
        _or_dash(info.top1, ".1f"),
        _or_dash(info.top5, ".1f"),
        _or_dash(error.top5_error if error else None, "g"),
        str(info.input_size),
        "yes" if here else "no",
    )


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
