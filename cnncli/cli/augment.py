"""`cnncli augment`: draw augmented images before training on them."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.cli.options import OUT_FILE, PATH, console_options, example, json_option, overrides_argument, print_json
from cnncli.terminal.console import Console


@click.command(epilog=example("cnncli augment configs/quickstart.yaml augmentation.rotation_range=20"))
@click.argument("config", type=PATH)
@overrides_argument
@click.option(
    "--out",
    type=OUT_FILE,
    metavar="FILE.png",
    help="PNG file to write.  [default: NAME-augmentation.png in the current folder]",
)
@click.option(
    "--images", type=click.IntRange(1, 100), default=6, help="Number of images (rows), spread over the classes."
)
@click.option(
    "--views",
    type=click.IntRange(1, 50),
    help="Number of views (columns); the first is the image itself.  [default: up to 6]",
)
@json_option
@console_options
def command(
    config: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    images: int,
    views: int | None,
    as_json: bool,
    console: Console,
) -> None:
    """Draw a sheet of augmented images.

    A view is one random rendering of an image. Each row shows a training image of CONFIG with exactly the views that
    training would use: the first ones, or those of the first epochs if views are fresh. Prints the path of the sheet.
    """
    from cnncli.config.reader import load_config
    from cnncli.recipes.augment import augment

    sheet = augment(load_config(config, overrides), out, images, views, console)
    if as_json:
        print_json(sheet)
    else:
        click.echo(sheet.path)
