"""`cnncli recipes`: published recipes, and what they give here."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.catalogue.published import find_published, load_published
from cnncli.cli.compare import out_option
from cnncli.cli.options import (
    PATH,
    console_options,
    example,
    json_option,
    overrides_argument,
    print_json,
    runs_dir_option,
)
from cnncli.cli.sweep import print_sweep, seeds_option
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import percent

data_option = click.option(
    "--data", type=PATH, default=Path("data/dogs-vs-cats"), metavar="DIR", help="Folder of the images."
)


@click.group(epilog=example("cnncli recipes list"))
def command() -> None:
    """List, show and run published recipes."""


@command.command("list", epilog=example("cnncli recipes list"))
@json_option
@console_options
def list_(as_json: bool, console: Console) -> None:
    """List the recipes with their published and measured results.

    Measured is the mean over the seeds.
    """
    recipes = load_published().values()
    if as_json:
        print_json(list(recipes))
        return
    rows = [
        (one.name, one.title, one.metric, percent(one.published), "–" if one.mean is None else percent(one.mean))
        for one in recipes
    ]
    console.table(("recipe", "network and method", "metric", "published", "measured"), rows, optional=("metric",))


@command.command(epilog=example("cnncli recipes show vgg16-frozen-2021 > vgg16.yaml"))
@click.argument("name")
@data_option
@json_option
@console_options
def show(name: str, data: Path, as_json: bool, console: Console) -> None:
    """Print a recipe as a config.

    Comments give its source, and the published and measured results.
    """
    from cnncli.recipes.recipes import config_text

    recipe = find_published(name)
    if as_json:
        print_json(recipe)
    else:
        click.echo(config_text(recipe, data.absolute()), nl=False)


@command.command(epilog=example("cnncli recipes run vgg16-frozen-2021 --data dogs-vs-cats --seeds 0,1,2"))
@click.argument("name")
@overrides_argument
@data_option
@seeds_option
@out_option
@runs_dir_option
@json_option
@console_options
def run(
    name: str,
    overrides: tuple[str, ...],
    data: Path,
    seeds: tuple[int, ...] | None,
    out: Path | None,
    runs_dir: Path,
    as_json: bool,
    console: Console,
) -> None:
    """Train a recipe with several seeds, and compare the results.

    The published result is shown next to them. Any setting can be changed as KEY=VALUE, e.g. backbone.weights=FILE or
    training.epochs=3. The same command continues an interrupted one.
    """
    recipe = find_published(name)
    from cnncli.recipes.recipes import run_recipe

    print_sweep(run_recipe(recipe, data, overrides, seeds or (0,), runs_dir, console, out), as_json, console)
