"""`cnncli extract`: compute features into the cache, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncli.cli.options import (
    cluster_option,
    config_argument,
    console_options,
    example,
    json_option,
    overrides_argument,
    print_json,
)
from cnncli.errors import printable
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.features.parts import ImagePart


class ImagePartType(click.ParamType["ImagePart"]):
    """A part of the images, such as 3/8."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ImagePart:
        """Return the part."""
        from cnncli.features.parts import ImagePart

        try:
            return ImagePart.parse(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a part, such as 3/8, the third of eight; the first is 1/8.", param, ctx)


@click.command(epilog=example("cnncli extract configs/quickstart.yaml --shard 1/4"))
@config_argument
@overrides_argument
@click.option("--shard", "part", type=ImagePartType(), help="Compute only part I of N of the images, counted from 1.")
@cluster_option
@json_option
@console_options
def command(
    config: Path,
    overrides: tuple[str, ...],
    part: ImagePart | None,
    cluster: str | None,
    as_json: bool,
    console: Console,
) -> None:
    """Compute features into the cache, without training.

    These are the features of training, validation and test images that `cnncli train` would compute. Features that are
    cached are not computed again, so a killed extraction continues. With --shard, several processes or machines compute
    one part each; `cnncli cache merge` collects the caches of machines that do not share one. With --cluster, the nodes
    of a Ray cluster compute the features, which are stored in the cache of this machine.
    """
    from cnncli.dataset.source import read_config

    checked = read_config(config, overrides)  # reports mistakes before heavy imports
    from cnncli.cluster.machines import machines_at
    from cnncli.recipes.extract import extract_features

    with machines_at(cluster) as machines:
        found = extract_features(checked, console, part, machines)
    if as_json:
        print_json(found)
        return
    counts = f"{found.features.computed:,} features computed, {found.features.reused:,} found in the cache"
    click.echo(f"{counts} ({found.images:,} images) · {printable(found.cache)}")
