"""`cnncli train`: a config or a folder of pictures to a finished run."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.cli.options import console_options, example, json_option, runs_dir_option
from cnncli.console import Console


@click.command(epilog=example("cnncli train configs/quickstart.yaml training.epochs=30"))
@click.argument("source", metavar="CONFIG|DIR", type=click.Path(path_type=Path))
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@runs_dir_option
@json_option
@console_options
def command(source: Path, overrides: tuple[str, ...], runs_dir: Path, as_json: bool, console: Console) -> None:
    """Train a classifier from a config or a folder of pictures.

    CONFIG is a YAML file; DIR a folder of class folders, or of train, validation and test, trained with the defaults.
    Any setting can be given as KEY=VALUE, e.g. training.optimizer.learning_rate=1e-4.
    """
    from cnncli.recipes.source import read_config

    config = read_config(source, overrides)  # what is wrong with it is said before the rest is imported
    from cnncli.cli.outcome import print_run
    from cnncli.recipes.train import train

    print_run(train(config, runs_dir, console), as_json, console)
