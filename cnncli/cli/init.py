"""`cnncli init`: write a commented config for a folder, or from a template."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.cli.options import OUT_FILE, PATH, console_options, example
from cnncli.errors import Message
from cnncli.terminal.console import Console

LIST = ""
"""Value of --template without a name."""


@click.command(epilog=example("cnncli init flowers --out flowers.yaml"))
@click.argument("source", metavar="[DIR|TABLE]", type=PATH, required=False)
@click.option(
    "--template",
    is_flag=False,
    flag_value=LIST,
    metavar="[NAME]",
    help="Write a config that comes with cnncli; without a name, list them.",
)
@click.option(
    "--out", type=OUT_FILE, metavar="FILE", help="File to write.  [default: config.yaml, or the template's NAME.yaml]"
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@console_options
def command(source: Path | None, template: str | None, out: Path | None, force: bool, console: Console) -> None:
    """Write a commented config for a folder of images or a table.

    DIR contains class folders, or train, validation and test folders with class folders. TABLE is a .csv, .tsv or
    .parquet file with a row per image, whose images are below its folder. The comments describe its
    classes, image sizes and splits, and suggest suitable settings, such as class weights for classes of different
    sizes.

    With --template, a config that comes with cnncli is written for the images in DIR or, without DIR, for those that
    its first lines name. The sample images of the template quickstart are copied to data/sample next to it.
    """
    from cnncli.recipes.init import write_config, write_from_template

    if template == LIST:
        _list_templates(console)
    elif template is not None:
        click.echo(write_from_template(template, source, out or Path(f"{template}.yaml"), force))
    elif source is None:
        text = "Give a folder of images or a table, or --template NAME."
        raise click.UsageError(Message("usage-argument-missing", text))
    else:
        click.echo(write_config(source, out or Path("config.yaml"), force, console))


def _list_templates(console: Console) -> None:
    from cnncli.config.templates import templates

    rows = [
        (one.name, one.config.mode, one.config.networks, one.config.data.path.name, one.description)
        for one in templates().values()
    ]
    console.table(("template", "mode", "backbone", "images", "about"), rows, optional=("backbone", "mode", "images"))
