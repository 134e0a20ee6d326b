"""`cnncli explain`: which parts of an image speak for a class."""

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
from cnncli.terminal.formatting import percent

if TYPE_CHECKING:
    from cnncli.recipes.explain import Explanation

METHODS = ("grad-cam", "grad-cam++", "occlusion", "integrated-gradients", "guided-backprop")

log = logging.getLogger(__name__)


@click.command(epilog=example("cnncli explain data/sample/test/cats/cat.0.jpg --method all"))
@click.argument("images", metavar="IMAGE...", type=PATH, nargs=-1, required=True)
@run_option
@click.option(
    "--method",
    "methods",
    type=click.Choice([*METHODS, "all"]),
    multiple=True,
    default=["grad-cam"],
    help="Kind of map; repeatable.",
)
@click.option(
    "--class",
    "classes",
    metavar="NAME",
    multiple=True,
    help="Class to explain; repeatable.  [default: the predicted class and the runner-up]",
)
@click.option("--layer", metavar="NAME", help="Layer whose maps Grad-CAM weights.  [default: the last one with maps]")
@click.option("--score", is_flag=True, help="Compute the insertion and deletion scores of each map.")
@click.option(
    "--out",
    type=OUT_FILE,
    metavar="FILE.png",
    help="PNG to write.  [default: IMAGE-explained.png in the current folder, with the name of the first image]",
)
@click.option("--npz", type=OUT_FILE, metavar="FILE.npz", help="Write the maps as arrays, too.")
@json_option
@runs_dir_option
@console_options
def command(
    images: tuple[Path, ...],
    run: str | None,
    methods: tuple[str, ...],
    classes: tuple[str, ...],
    layer: str | None,
    score: bool,
    out: Path | None,
    npz: Path | None,
    as_json: bool,
    runs_dir: Path,
    console: Console,
) -> None:
    """Draw which parts of images speak for a class.

    Grad-CAM and Grad-CAM++ weight the last maps of the network by their gradients. Occlusion hides one part of the
    image after another. Integrated gradients and guided backpropagation lead to single pixels. All work for every run,
    wherever it was cut. Only occlusion does without TensorFlow.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.explain import METHODS as ALL
    from cnncli.recipes.explain import draw_explanations, explain, write_maps

    chosen = ALL if "all" in methods else tuple(one for one in ALL if one in methods)
    folder = open_named_run(run, runs_dir)
    found = explain(folder, images, chosen, classes, layer, score, console)
    figure = draw_explanations(found, folder, out or Path(f"{images[0].stem}-explained.png"))
    if npz is not None:
        write_maps(found, npz)
    if as_json:
        print_json({"figure": figure, "images": found})
        return
    for one in found:
        _print(one, console)
    click.echo(figure)


def _print(found: Explanation, console: Console) -> None:
    pairs = "  ".join(f"{printable(one.label)} {percent(one.probability)}" for one in found.classes)
    console.print(f"{found.path}: {pairs}")
    rows = [
        (printable(one.label), method, f"{insertion:.3f}", f"{deletion:.3f}")
        for one in found.classes
        for method, (insertion, deletion) in one.scores.items()
    ]
    if rows:
        console.table(("class", "method", "insertion", "deletion"), rows)
