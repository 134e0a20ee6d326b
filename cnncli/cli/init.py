"""`cnncli init`: write a commented config for a folder."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.cli.options import OUT_FILE, PATH, console_options, example
from cnncli.terminal.console import Console


@click.command(epilog=example("cnncli init flowers --out flowers.yaml"))
@click.argument("source", metavar="DIR|TABLE", type=PATH)
@click.option("--out", type=OUT_FILE, default="config.yaml", metavar="FILE", help="File to write.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@console_options
def command(source: Path, out: Path, force: bool, console: Console) -> None:
    """Write a commented config for a folder of images or a table.

    DIR contains class folders, or train, validation and test folders with class folders. TABLE is a .csv, .tsv or
    .parquet file with a row per image, whose images are below its folder. The comments describe its
    classes, image sizes and splits, and suggest suitable settings, such as class weights for classes of different
    sizes.
    """
    from cnncli.recipes.init import write_config

    click.echo(write_config(source, out, force, console))
