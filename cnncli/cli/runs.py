"""`cnncli runs`: the runs with their key figures."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.cli.options import console_options, example, json_option, print_json, runs_dir_option
from cnncli.terminal.console import Console


@click.command(epilog=example("cnncli runs --json"))
@runs_dir_option
@json_option
@console_options
def command(runs_dir: Path, as_json: bool, console: Console) -> None:
    """List the runs with their key figures.

    Oldest first: name, state, mode and backbone, accuracy on the validation and on the test images, the latter with
    its 95 % interval and their number, and how long it took.
    """
    from cnncli.runs.listing import COLUMNS, list_runs

    runs = list_runs(runs_dir)
    if as_json:
        print_json([run.to_dict() for run in runs])
    elif runs:
        console.table(COLUMNS, [run.cells() for run in runs], to="stdout")
        for run in runs:
            if run.problem:
                console.warn(run.problem)
    else:
        console.say(f"no runs in {runs_dir}")
