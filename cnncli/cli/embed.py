"""`cnncli embed`: the features of a run's images, and a map of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncli.cli.options import (
    OUT_FILE,
    console_options,
    example,
    json_option,
    print_json,
    run_argument,
    runs_dir_option,
)
from cnncli.errors import Message
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.explanation.projection import Method
    from cnncli.recipes.embed import Split

log = logging.getLogger(__name__)


@click.command(epilog=example("cnncli embed quickstart --out features.npz --map map.png"))
@run_argument
@click.option("--out", type=OUT_FILE, metavar="FILE", help="Features to write, .npz or .parquet.")
@click.option("--map", "map_file", type=OUT_FILE, metavar="FILE.png", help="Map with thumbnails to draw.")
@click.option(
    "--method",
    type=click.Choice(["tsne", "pca", "umap"]),
    default="tsne",
    help="Arrangement of the map; umap needs cnncli[umap].",
)
@click.option(
    "--split", type=click.Choice(["train", "validation", "test", "all"]), default="all", help="Images to use."
)
@runs_dir_option
@json_option
@console_options
def command(
    run: str | None,
    out: Path | None,
    map_file: Path | None,
    method: Method,
    split: Split,
    runs_dir: Path,
    as_json: bool,
    console: Console,
) -> None:
    """Write the features of a run's images, or draw a map of them.

    RUN is a run directory or its name; default: the newest finished run. Features are the output of its frozen layers,
    averaged over places, one vector per image. Cached ones are used.

    An .npz has the arrays features, path, label, split and digest, which numpy.load reads; a .parquet has the same as
    columns. On the map, images with similar features are close to each other.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.embed import SUFFIXES, draw_map, embed
    from cnncli.storage.atomic import output_path

    if out is None and map_file is None:
        raise click.UsageError(Message("usage-argument-missing", "Give --out, --map or both."))
    for path, suffixes in ((out, SUFFIXES), (map_file, (".png",))):
        if path is not None:
            output_path(path, suffixes)  # before the work
    found = embed(open_named_run(run, runs_dir), console, split)
    written: dict[str, Any] = {}
    if out is not None:
        written["out"] = found.write(out)
    if map_file is not None:
        written["map"] = draw_map(found, method, map_file)
    if as_json:
        print_json({**found.to_dict(), **written})
        return
    log.info(f"{len(found.rows):,} images × {found.vectors.shape[1]:,} features of {found.source}")
    for path in written.values():
        click.echo(path)
