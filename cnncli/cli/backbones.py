"""`cnncli backbones`: list the networks."""

from __future__ import annotations

import click

from cnncli.catalogue.networks import NETWORKS, NetworkInfo
from cnncli.cli.options import console_options, example, json_option, print_json
from cnncli.terminal.console import Console

COLUMNS = ("network", "parameters", "MB", "depth", "top-1 %", "top-5 %", "input px", "weights here")
FROM_SCRATCH = ("network without weights", "parameters", "MB", "depth", "input px")


@click.command(epilog=example("cnncli backbones --json"))
@json_option
@console_options
def command(as_json: bool, console: Console) -> None:
    """List the networks that a config can name.

    Parameters and size include the published top, mostly of ImageNet's 1,000 classes. Top-1 and top-5 are accuracies on
    ImageNet's validation images, and input is the default height and width. The last column shows whether the ImageNet
    weights are already on this machine; others are downloaded when they are first needed. Networks in the second table
    have no weights and are trained from scratch.
    """
    from cnncli.networks.architectures import has_local_weights

    networks = [(info, has_local_weights(info)) for info in NETWORKS.values()]
    if as_json:
        facts = ("name", "parameters", "size_mb", "depth", "top1", "top5", "input_size")
        print_json([{**{name: getattr(info, name) for name in facts}, "weights_here": here} for info, here in networks])
    else:
        console.table(COLUMNS, [_cells(info, here) for info, here in networks if info.has_imagenet])
        console.print("")
        console.table(FROM_SCRATCH, [_scratch_cells(info) for info, _ in networks if not info.has_imagenet])


def _scratch_cells(info: NetworkInfo) -> tuple[str, ...]:
    name, parameters, size, depth, _, _, side, _ = _cells(info, here=False)
    return name, parameters, size, depth, side


def _cells(info: NetworkInfo, here: bool) -> tuple[str, ...]:
    return (
        info.name,
        f"{info.parameters:,}",
        f"{info.size_mb:,.0f}",
        _or_dash(info.depth, "d"),
        _or_dash(info.top1, ".1f"),
        _or_dash(info.top5, ".1f"),
        str(info.input_size),
        "yes" if here else "no",
    )


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
