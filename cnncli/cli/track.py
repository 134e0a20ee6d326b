"""`cnncli track`: send a run to MLflow."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.cli.options import console_options, example, json_option, print_json, run_argument, runs_dir_option
from cnncli.terminal.console import Console


@click.command(epilog=example("cnncli track vgg16-features"))
@run_argument
@runs_dir_option
@json_option
@console_options
def command(run: str | None, runs_dir: Path, as_json: bool, console: Console) -> None:
    """Send a finished run to MLflow.

    RUN is a run directory or its name; default: the newest finished one. What MLflow has already is not sent again. The
    server or store is the one that MLFLOW_TRACKING_URI names, by default a database in the folder of the runs. Training
    sends its run itself with tracking=mlflow; this command sends what could not be sent then, or a run of another
    config.
    """
    from cnncli.recipes.track import track
    from cnncli.runs.listing import open_run

    folder = open_run(run, runs_dir)
    found = track(folder)
    if as_json:
        print_json({"run": folder.path, "uri": found.experiment.uri, "run_id": found.id})
    else:
        click.echo(f"MLflow run {found.id} at {found.experiment.uri}")
