"""`cnncli similar`: the images of a run that resemble an image most."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli.cli.options import (
    OUT_FILE,
    PATH,
    console_options,
    example,
    json_option,
    print_json,
    run_option,
    runs_dir_option,
)
from cnncli.errors import printable
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.recipes.embed import Split

log = logging.getLogger(__name__)


@click.command(epilog=example("cnncli similar photo.jpg --run quickstart --out similar.png"))
@click.argument("images", metavar="IMAGE...", type=PATH, nargs=-1, required=True)
@run_option
@click.option("--top", type=click.IntRange(1, 100), default=8, help="Number of similar images.")
@click.option(
    "--split", type=click.Choice(["train", "validation", "test", "all"]), default="train", help="Images to search."
)
@click.option("--out", type=OUT_FILE, metavar="FILE.png", help="Draw a sheet of the images.")
@json_option
@runs_dir_option
@console_options
def command(
    images: tuple[Path, ...],
    run: str | None,
    top: int,
    split: Split,
    out: Path | None,
    as_json: bool,
    runs_dir: Path,
    console: Console,
) -> None:
    """Find the training images that resemble an image most.

    The similarity, -1 to 1, is the cosine of the run's features, from which the mean of all images is subtracted.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.embed import draw_similar, find_similar

    folder = open_named_run(run, runs_dir)
    found = find_similar(folder, images, console, top, split)
    if as_json:
        print_json(found)
    else:
        for one in found:
            console.print(str(one.path))
            rows = [(f"{near.similarity:.3f}", near.row.label, near.row.file) for near in one.nearest]
            console.table(("similarity", "label", "path"), rows)
    if out is not None:
        log.info(f"sheet {printable(draw_similar(folder, found, out))}")
