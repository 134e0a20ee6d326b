"""`cnncli replay`: name the layer in which a training became NaN or Inf."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.cli.options import console_options, example, json_option, print_json, run_argument, runs_dir_option
from cnncli.terminal.console import Console


@click.command(epilog=example("cnncli replay my-run"))
@run_argument
@runs_dir_option
@json_option
@console_options
def command(run: str | None, runs_dir: Path, as_json: bool, console: Console) -> None:
    """Repeat the step in which a training became NaN or Inf.

    RUN is a run directory or its name; default: the newest unfinished run. The steps since the newest checkpoint are
    repeated exactly; then the last one is examined layer by layer. The run gets nan/step.npz with the batch, and the
    weights, optimizer slots and random states before the step.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.replay import replay

    found = replay(open_named_run(run, runs_dir, prefer="unfinished"), console)
    if as_json:
        print_json(found)
    else:
        click.echo(found.where)
        click.echo(f"{found.breakdown.text} The batch has {found.n_images:,} images.")
        click.echo(f"saved: {found.step}")
