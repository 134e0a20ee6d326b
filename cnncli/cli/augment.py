"""`cnncli augment`: draw augmented images before training on them."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.cli.options import OUT_FILE, PATH, console_options, example, json_option, overrides_argument, print_json
from cnncli.terminal.console import Console


@click.command(epilog=example("cnncli augment configs/quickstart.yaml augmentation.rotation_range=20"))
@click.argument("config", metavar="CONFIG|IMAGE", type=PATH)
@overrides_argument
@click.option(
    "--out",
    type=OUT_FILE,
    metavar="FILE.png",
    help="PNG file to write.  [default: NAME-augmentation.png or IMAGE-operations.png in the current folder]",
)
@click.option(
    "--images", type=click.IntRange(1, 100), default=6, help="Number of images (rows), spread over the classes."
)
@click.option(
    "--views",
    type=click.IntRange(1, 50),
    help="Number of views (columns); the first is the image itself.  [default: up to 6]",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Random seed of the operations on an IMAGE.")
@json_option
@console_options
def command(
    config: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    images: int,
    views: int | None,
    seed: int,
    as_json: bool,
    console: Console,
) -> None:
    """Draw a sheet of augmented images.

    A view is one random rendering of an image. Each row shows a training image of CONFIG with exactly the views that
    training would use: the first ones, or those of the first epochs if views are fresh. Prints the path of the sheet.

    For an IMAGE, the sheet shows it under each operation by name: flips, rotations, colors, noise, crops, scales, lens
    distortion and others.
    """
    from cnncli.config.reader import load_config
    from cnncli.recipes.augment import augment, show_operations
    from cnncli.storage.image_names import is_image_name

    if is_image_name(config.name):
        sheet = show_operations(config, out, seed)
    else:
        sheet = augment(load_config(config, overrides), out, images, views, console)
    if as_json:
        print_json(sheet)
    else:
        click.echo(sheet.path)
