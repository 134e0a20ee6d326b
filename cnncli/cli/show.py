"""`cnncli show`: what the layers of a run's network respond to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cnncli.cli.options import (
    OUT_FILE,
    PATH,
    console_options,
    example,
    json_option,
    print_json,
    run_argument,
    runs_dir_option,
)
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import percent


def sheet_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add RUN, --out, --json, --runs-dir and the console flags."""
    for option in (
        console_options,
        runs_dir_option,
        json_option,
        click.option("--out", type=OUT_FILE, metavar="FILE.png", help="PNG to write.  [default: RUN-KIND.png here]"),
        run_argument,
    ):
        function = option(function)
    return function


image_option = click.option(
    "--image", type=PATH, metavar="FILE", help="Image.  [default: the first test image of the run]"
)
layer_option = click.option("--layer", metavar="NAME", help="Layer with maps; see `cnncli summary`.")
channel_option = click.option(
    "--channel", "channels", type=click.IntRange(0), multiple=True, metavar="K", help="Channel from 0; repeatable."
)


@click.group(epilog=example("cnncli show filters quickstart"))
def command() -> None:
    """Show what the layers of a network respond to."""


@command.command(epilog=example("cnncli show filters quickstart --out filters.png"))
@sheet_options
def filters(run: str | None, out: Path | None, as_json: bool, runs_dir: Path, console: Console) -> None:
    """Draw the filters of the first convolution.

    RUN is a run directory or its name; default: the newest finished run.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.show import show_filters

    folder = open_named_run(run, runs_dir)
    _print(show_filters(folder, out or _default(folder.path, "filters")), as_json)


@command.command("feature-maps", epilog=example("cnncli show feature-maps quickstart --out maps.png"))
@image_option
@layer_option
@sheet_options
def feature_maps(
    run: str | None,
    image: Path | None,
    layer: str | None,
    out: Path | None,
    as_json: bool,
    runs_dir: Path,
    console: Console,
) -> None:
    """Draw the maps of a layer before and after its activation.

    RUN is a run directory or its name; default: the newest finished run. The default layer is the first convolution. A
    layer whose activation follows as a layer of its own is shown before and after that one.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.show import show_feature_maps

    folder = open_named_run(run, runs_dir)
    _print(show_feature_maps(folder, out or _default(folder.path, "feature-maps"), image, layer), as_json)


@command.command(epilog=example("cnncli show activations quickstart --out activations.png"))
@image_option
@click.option(
    "--layer",
    "layers",
    metavar="NAME",
    multiple=True,
    help="Layer with maps; repeatable.  [default: up to 12 from the first to the last]",
)
@sheet_options
def activations(
    run: str | None,
    image: Path | None,
    layers: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    runs_dir: Path,
    console: Console,
) -> None:
    """Draw the strongest channels of many layers for an image.

    RUN is a run directory or its name; default: the newest finished run. Also prints the fraction of zeros of each
    layer.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.show import show_activations

    folder = open_named_run(run, runs_dir)
    path, facts = show_activations(folder, out or _default(folder.path, "activations"), image, layers)
    if not as_json:
        rows = [
            (one["layer"], "×".join(map(str, one["shape"])), percent(one["zeros"]), f"{one['strongest_channels'][0]}")
            for one in facts
        ]
        console.table(("layer", "output", "zeros", "strongest channel"), rows)
    _print(path, as_json, layers=facts)


@command.command("top-images", epilog=example("cnncli show top-images quickstart --channel 3 --channel 17"))
@layer_option
@channel_option
@sheet_options
def top_images(
    run: str | None,
    layer: str | None,
    channels: tuple[int, ...],
    out: Path | None,
    as_json: bool,
    runs_dir: Path,
    console: Console,
) -> None:
    """Draw the training images that most activate a channel.

    RUN is a run directory or its name; default: the newest finished run. Beside each image are the pixels to which the
    channel responds: its deconvolution or, in networks without max pooling, its guided gradients. The default layer is
    the last one with maps, and the default channels are those that respond most selectively.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.show import show_top_images

    folder = open_named_run(run, runs_dir)
    path, facts = show_top_images(folder, out or _default(folder.path, "top-images"), console, layer, channels)
    _print(path, as_json, channels=facts)


@command.command("preferred-input", epilog=example("cnncli show preferred-input quickstart --steps 64"))
@layer_option
@channel_option
@click.option("--steps", type=click.IntRange(1, 10_000), default=192, help="Number of steps.")
@sheet_options
def preferred_input(
    run: str | None,
    layer: str | None,
    channels: tuple[int, ...],
    steps: int,
    out: Path | None,
    as_json: bool,
    runs_dir: Path,
    console: Console,
) -> None:
    """Draw the images that classes or channels prefer.

    RUN is a run directory or its name; default: the newest finished run. Gradient ascent from noise finds the input
    that raises a class most (--channel is its number) or, with --layer, a channel of that layer.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.show import show_preferred_inputs

    folder = open_named_run(run, runs_dir)
    path = out or _default(folder.path, "preferred-input")
    _print(show_preferred_inputs(folder, path, console, layer, channels, steps), as_json)


def _default(run: Path, kind: str) -> Path:
    return Path(f"{run.name}-{kind}.png")


def _print(path: Path, as_json: bool, **facts: Any) -> None:
    if as_json:
        print_json({"path": path, **facts})
    else:
        click.echo(path)
