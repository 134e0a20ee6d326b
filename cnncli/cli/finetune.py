"""`cnncli finetune`: continue a finished run in a new one."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.cli.options import console_options, example, json_option, print_json, run_argument, runs_dir_option
from cnncli.terminal.console import Console


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


@click.command(epilog=example("cnncli finetune --unfreeze 6 --epochs 5"))
@run_argument
@click.option(
    "--unfreeze",
    type=_number_or_name,
    metavar="N|LAYER|all",
    help="Number of weighted layers from the end of the backbone, name of the first layer, or all.  [default: 4]",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Maximum number of epochs.  [default: 10]")
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0.0, min_open=True),
    help="Learning rate.  [default: a tenth of the parent's, or that of its last stage if it was fine-tuned itself]",
)
@click.option(
    "--plan", "plan_only", is_flag=True, help="Only print which layers would train and which features would be stored."
)
@runs_dir_option
@json_option
@console_options
def command(
    run: str | None,
    unfreeze: int | str | None,
    epochs: int | None,
    learning_rate: float | None,
    plan_only: bool,
    runs_dir: Path,
    as_json: bool,
    console: Console,
) -> None:
    """Continue a finished run and train more of its backbone.

    RUN is a run directory or its name; default: the newest finished run. The new run records it as its parent, and
    keeps its weights if no epoch is better.
    """
    from cnncli.cli.render import open_named_run, print_end, print_plan, print_run
    from cnncli.recipes.finetune import FinetuneSettings, finetune, plan

    parent = open_named_run(run, runs_dir)
    settings = FinetuneSettings(unfreeze, epochs, learning_rate)
    if not plan_only:
        found = finetune(parent, settings, runs_dir, console, show=lambda run: print_run(run, as_json, console))
        print_end(found, as_json)
    elif as_json:
        print_json(plan(parent, settings))
    else:
        print_plan(plan(parent, settings), console)
