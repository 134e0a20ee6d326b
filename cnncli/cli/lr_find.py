"""`cnncli lr-find`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli.cli.options import (
    OUT_FILE,
    config_argument,
    console_options,
    example,
    json_option,
    log_written,
    overrides_argument,
    result_printer,
)
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import decimal

if TYPE_CHECKING:
    from cnncli.recipes.lr_find import FoundRate

N_ROWS = 15


@click.command(epilog=example("cnncli lr-find configs/quickstart.yaml training.solver=gradient --out rates.png"))
@config_argument
@overrides_argument
@click.option("--stage", metavar="NAME", help="Stage that is tested; those before it are trained.  [default: the last]")
@click.option(
    "--from",
    "low",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-6,
    metavar="RATE",
    help="First learning rate; 1e-6 if not given.",
)
@click.option(
    "--to",
    "high",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    metavar="RATE",
    help="Last learning rate; 10 if not given.",
)
@click.option(
    "--steps", type=click.IntRange(min=10), default=150, metavar="N", help="Number of steps; 150 if not given."
)
@click.option("--out", type=OUT_FILE, metavar="FILE.png", help="Draw the loss over the rates (.png or .svg).")
@json_option
@console_options
def command(
    config: Path,
    overrides: tuple[str, ...],
    stage: str | None,
    low: float,
    high: float,
    steps: int,
    out: Path | None,
    as_json: bool,
    console: Console,
) -> None:
    """Find a learning rate by a range test.

    Trains a stage while the learning rate grows from step to step until the loss diverges (arXiv 1506.01186). Suggests
    the rate at which the loss falls fastest, and the range of useful rates: from where it begins to fall to where it is
    lowest. No run is written.
    """
    from cnncli.dataset.source import read_config
    from cnncli.recipes.lr_find import lr_find

    show = result_printer(print_rate, console, as_json)
    lr_find(read_config(config, overrides), console, stage, (low, high), steps, out, show)
    log_written("figure", out)


def print_rate(found: FoundRate, console: Console) -> None:
    """Print some of the steps, the suggested rate, and how the rate of the config compares with the useful range."""
    result, own = found.result, found.stage.optimizer.learning_rate
    every = max(1, len(result.points) // N_ROWS)
    console.table(
        ("learning rate", "loss", "smoothed"),
        [(f"{one.learning_rate:.1e}", decimal(one.loss), decimal(one.smoothed)) for one in result.points[::every]],
    )
    where = f"stage {found.stage.name}, {found.stage.optimizer.name}, batches of {found.batch_size}"
    if result.diverged:
        last = f" after {result.points[-1].learning_rate:.2g}" if result.points else " in the first step"
        console.print(f"The loss diverges{last}.")
    if result.suggested is None or result.low is None or result.high is None:
        console.print(f"The loss hardly falls at any rate ({where}). Try more --steps, or another range.")
        return
    place = "below" if own < result.low else "above" if own > result.high else "inside"
    console.print(f"Useful learning rates: {result.low:g} to {result.high:g} ({where}).")
    console.print(f"Suggested: {result.suggested:g}. The config's {own:g} is {place} the useful range.")
    console.print(f"{found.key}={found.value:g}")
