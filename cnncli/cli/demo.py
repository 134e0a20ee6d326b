"""`cnncli demo`: show what convolutions, pooling and a training step compute."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli.cli.demo_loss import loss, penalty
from cnncli.cli.options import OUT_FILE, PATH, console_options, example, json_option, overrides_argument, print_json
from cnncli.errors import Message
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import matrix_text, percent

if TYPE_CHECKING:
    from cnncli.explanation.convolution import Worked

log = logging.getLogger(__name__)

ANIMATIONS = (".gif", ".png", ".webp")
MOST_PRINTED = 40
"""Maximum side of an image that is printed as a matrix."""

size_option = click.option(
    "--size",
    type=click.IntRange(8, 1024),
    help="Height and width in pixels.  [default: those of the image, at most 224]",
)


@click.group(epilog=example("cnncli demo convolution"))
def command() -> None:
    """Show what a network computes, step by step."""


command.add_command(loss)
command.add_command(penalty)


@command.command(epilog=example("cnncli demo kernels data/sample/train/cats/cat.0.jpg --out kernels.png"))
@click.argument("image", type=PATH)
@click.option(
    "--out", type=OUT_FILE, metavar="FILE", help="Figure to write, .png or .svg.  [default: IMAGE-kernels.png here]"
)
@size_option
@console_options
def kernels(image: Path, out: Path | None, size: int | None, console: Console) -> None:
    """Apply the kernels of image processing to an image.

    Identity, three kernels that find edges, both Sobel kernels, sharpen, box blur and Gaussian blur. Edges are found in
    gray, and the figure shows their strength.
    """
    from cnncli.recipes.demo import kernel_tiles, load_square
    from cnncli.report.demo_figures import draw_tile_figure
    from cnncli.storage.atomic import output_path

    path = output_path(out or Path(f"{image.stem}-kernels.png"))
    draw_tile_figure(kernel_tiles(load_square(image, size)), path)
    click.echo(path)


@command.command(
    "feature-map", epilog=example("cnncli demo feature-map data/sample/train/cats/cat.0.jpg --out map.png")
)
@click.argument("image", type=PATH)
@click.option(
    "--out", type=OUT_FILE, metavar="FILE", help="Figure to write, .png or .svg.  [default: IMAGE-feature-map.png here]"
)
@size_option
@console_options
def feature_map(image: Path, out: Path | None, size: int | None, console: Console) -> None:
    """Draw a feature map before and after ReLU and pooling.

    The map is that of a Sobel kernel, which finds vertical lines. Max, average and sum pooling have windows of 2×2.
    """
    from cnncli.recipes.demo import feature_map_tiles, load_square
    from cnncli.report.demo_figures import draw_tile_figure
    from cnncli.storage.atomic import output_path

    path = output_path(out or Path(f"{image.stem}-feature-map.png"))
    draw_tile_figure(feature_map_tiles(load_square(image, size)), path, columns=3)
    click.echo(path)


@command.command(epilog=example("cnncli demo pixels data/sample/train/cats/cat.0.jpg --size 16"))
@click.argument("image", type=PATH)
@click.option("--out", type=OUT_FILE, metavar="FILE", help="Figure to write, .png or .svg.")
@click.option("--size", type=click.IntRange(2, 256), default=16, help="Height and width in pixels.")
@json_option
@console_options
def pixels(image: Path, out: Path | None, size: int, as_json: bool, console: Console) -> None:
    """Print an image as a matrix of gray values.

    This is what a computer sees: 0 is black, 255 is white.
    """
    from cnncli.recipes.demo import gray_of, load_square
    from cnncli.report.demo_figures import draw_pixels
    from cnncli.storage.atomic import output_path

    path = output_path(out) if out else None
    values = gray_of(load_square(image, size))
    if path:
        draw_pixels(values, path)
    if as_json:
        print_json(values)
    elif size <= MOST_PRINTED:
        click.echo(matrix_text(values))
    if path and not as_json:
        click.echo(path)


@command.command(epilog=example("cnncli demo convolution --example volume --out convolution.gif"))
@click.option(
    "--example",
    "kind",
    type=click.Choice(["image", "volume", "max-pooling", "average-pooling", "sum-pooling"]),
    help="image: 5×5 with a 3×3 kernel; volume: 5×5×3 with two filters of 3×3×3; pooling: 4×4 with 2×2.  "
    "[default: image, or volume with an option of it]",
)
@click.option("--size", type=click.IntRange(1, 16), help="Height and width of a volume.  [default: 5]")
@click.option("--kernel", type=click.IntRange(1, 11), help="Height and width of its filters.  [default: 3]")
@click.option("--stride", type=click.IntRange(1, 8), help="Stride.  [default: 2]")
@click.option("--padding", type=click.IntRange(0, 8), help="Rows and columns of zeros at each side.  [default: 1]")
@click.option("--dilation", type=click.IntRange(1, 8), help="Distance of the values below a filter.  [default: 1]")
@click.option("--depth", type=click.IntRange(1, 8), help="Channels of the volume.  [default: 3]")
@click.option("--filters", type=click.IntRange(1, 8), help="Number of filters.  [default: 2]")
@click.option("--seed", type=click.IntRange(0), help="Seed of the numbers of a volume.  [default: 0]")
@click.option("--out", type=OUT_FILE, metavar="FILE", help="Animation to write, .gif, .png or .webp.")
@console_options
def convolution(kind: str | None, out: Path | None, console: Console, **sizes: int | None) -> None:
    """Work out a convolution or pooling step by step.

    Prints the arithmetic of each output; --out writes an animation. Options such as --stride and --padding are for the
    volume, whose numbers are random: values 0 to 2, weights −1 to 1. The other examples have fixed numbers.
    """
    from cnncli.explanation.convolution import course_convolution, course_pooling, volume_convolution
    from cnncli.storage.atomic import output_path

    path = output_path(out, ANIMATIONS) if out else None
    given = {name: value for name, value in sizes.items() if value is not None}
    if given and kind not in ("volume", None):
        text = f"--{next(iter(given))} changes a volume; --example {kind} has fixed numbers."
        raise click.UsageError(Message("usage-options-conflict", text))
    try:
        if kind == "volume" or given:
            worked = volume_convolution(**given)
        elif kind in ("image", None):
            worked = course_convolution()
        else:
            worked = course_pooling(kind.removesuffix("-pooling"))  # type: ignore[arg-type]
    except ValueError as error:
        raise click.UsageError(Message("usage-value-invalid", f"{error}.")) from error
    if given and not kind:
        log.info(f"example: volume, because of --{next(iter(given))}")
    _print_worked(worked)
    if path:
        from cnncli.report.animation import draw_animation

        draw_animation(worked, path)
        click.echo(path)


def _print_worked(worked: Worked) -> None:
    """Print input, kernels, each step and the output."""

    def matrix(title: str, values: object) -> None:
        click.echo(f"{title}\n{matrix_text(values)}\n")  # type: ignore[arg-type]

    from cnncli.networks.arithmetic import side_formula

    depth, padding = worked.values.shape[-1], f" with padding {worked.padding}" if worked.padding else ""
    for channel in range(depth):
        matrix(f"input{padding}" + (f", channel {channel + 1}" if depth > 1 else ""), worked.values[..., channel])
    if worked.kernels is not None and worked.biases is not None:
        has_names = depth > 1 or len(worked.kernels) > 1 or worked.biases.any()
        for k, kernel in enumerate(worked.kernels):
            for channel in range(depth):
                name = f" {k + 1}, channel {channel + 1}, bias {worked.biases[k]}" if has_names else ""
                matrix(f"kernel{name}", kernel[..., channel])
    n = worked.values.shape[0] - 2 * worked.padding
    extent = (worked.size - 1) * worked.dilation + 1
    formula = side_formula(n, extent, (worked.padding, worked.padding), worked.stride)
    click.echo(f"output size {formula} = {worked.output.shape[0]}")
    for k, row, column in worked.steps():
        place = f"{row + 1},{column + 1}" + (f",{k + 1}" if worked.output.shape[-1] > 1 else "")
        click.echo(f"output[{place}] = {worked.formula(k, row, column)}")
    click.echo()
    for k in range(worked.output.shape[-1]):
        matrix("output" + (f" {k + 1}" if worked.output.shape[-1] > 1 else ""), worked.output[..., k])


@command.command("receptive-field", epilog=example("cnncli demo receptive-field --layers 3 --kernel 3"))
@click.option("--layers", type=click.IntRange(1, 50), default=3, help="Number of convolutions.")
@click.option("--kernel", type=click.IntRange(1, 31), default=3, help="Height and width of their kernels.")
@click.option("--stride", type=click.IntRange(1, 8), default=1, help="Stride.")
@click.option("--dilation", type=click.IntRange(1, 8), default=1, help="Dilation.")
@click.option("--out", type=OUT_FILE, metavar="FILE", help="Figure to write, .png or .svg.")
@json_option
@console_options
def receptive_field(
    layers: int, kernel: int, stride: int, dilation: int, out: Path | None, as_json: bool, console: Console
) -> None:
    """Show how the receptive field grows from layer to layer.

    The last columns compare the weights of the layers with those of a single layer with the same receptive field, per
    pair of input and output channels.
    """
    from cnncli.recipes.demo import receptive_fields
    from cnncli.report.demo_figures import draw_receptive_fields
    from cnncli.storage.atomic import output_path

    path = output_path(out) if out else None
    rows = receptive_fields(layers, kernel, stride, dilation)
    if path:
        draw_receptive_fields([row.receptive_field for row in rows], path)
    if as_json:
        print_json(rows)
        return
    columns = ("layers", "receptive field", "weights", "weights of one layer")
    cells = [(f"{row.layers}", row.formula, f"{row.weights:,}", f"{row.weights_of_one:,}") for row in rows]
    console.table(columns, cells)
    if path:
        click.echo(path)


@command.command(epilog=example("cnncli demo step data/sample/train/cats/cat.0.jpg --label cat"))
@click.argument("image", type=PATH)
@overrides_argument
@click.option("--classes", default="dog,cat,boat,bird", help="Names of the classes, with commas.")
@click.option("--label", required=True, metavar="CLASS", help="Class of the image.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=0.5, help="Factor of the gradients.")
@click.option("--updates", type=click.IntRange(1, 1000), default=1, help="Number of updates.")
@json_option
@console_options
def step(
    image: Path,
    overrides: tuple[str, ...],
    classes: str,
    label: str,
    learning_rate: float,
    updates: int,
    as_json: bool,
    console: Console,
) -> None:
    """Compare probabilities before and after a training step.

    A step is an update on one image. The network is a small ConvNet with random weights; settings change it, e.g.
    backbone.name=VGG16.
    """
    from cnncli.recipes.demo import train_on_one_image

    names = [name.strip() for name in classes.split(",")]
    update = train_on_one_image(image, names, label, learning_rate, updates, overrides)
    if as_json:
        print_json(update)
        return
    console.print(f"1. Take an image of class {label}: the target is 1 for it and 0 for the other classes.")
    console.print("2. Forward pass: compute the probabilities, the column before.")
    console.print(f"3. Total error, the sum of ½·(target − output)²: {update.errors[0]:.4f}.")
    console.print(
        f"4. Backward pass: the gradient of the error for {update.n_weights:,} weights, at most "
        f"{update.largest_gradients[0]:.3g}."
    )
    console.print(f"5. Update: subtract {learning_rate:g} times the gradient from each weight.")
    shown = [0, *sorted({1, updates})]
    headings = ["before", *(f"after {n}" for n in shown[1:])]
    rows = [
        (name, f"{update.target[place]:g}", *(percent(update.probabilities[n][place]) for n in shown))
        for place, name in enumerate(update.classes)
    ]
    console.table(("class", "target", *headings), [*rows, ("error", "", *(f"{update.errors[n]:.4f}" for n in shown))])
