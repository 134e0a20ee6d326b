"""`cnncli learning-curve`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli.cli.crossval import folds_option
from cnncli.cli.options import (
    OUT_FILE,
    config_argument,
    console_options,
    example,
    json_option,
    log_written,
    overrides_argument,
    result_printer,
)
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import percent, percent_range

if TYPE_CHECKING:
    from cnncli.evaluation.learning_curve import Estimate, LearningCurve

FAR = 1000.0
"""Multiple of the present number of images beyond which a predicted number is not shown."""


@click.command(epilog=example("cnncli learning-curve configs/quickstart.yaml --target 0.99 --out curve.png"))
@config_argument
@overrides_argument
@folds_option
@click.option(
    "--target",
    type=click.FloatRange(0.0, 1.0),
    metavar="X",
    help="Predict the number of images with which this accuracy (0-1) is reached.",
)
@click.option("--out", type=OUT_FILE, metavar="FILE.png", help="Draw the curve (.png or .svg).")
@json_option
@console_options
def command(
    config: Path,
    overrides: tuple[str, ...],
    folds: int | None,
    target: float | None,
    out: Path | None,
    as_json: bool,
    console: Console,
) -> None:
    """Predict how much more images would help.

    Solves the head of a config on parts of the training and validation images that double in size, measures its
    accuracy on images that were held out, as crossval does, and extrapolates it with a power law. The intervals include
    the choice of the images, but not that the law may be another one. Test images are not used.
    """
    from cnncli.dataset.source import read_config
    from cnncli.recipes.learning_curve import learning_curve

    show = result_printer(print_learning_curve, console, as_json)
    learning_curve(read_config(config, overrides), console, folds, target, out, show)
    log_written("figure", out)


def print_learning_curve(found: LearningCurve, console: Console) -> None:
    """Print measured and predicted accuracies, and what more images would change."""
    measured = [(f"{point.size:,.0f}", *_cells(point.accuracy), "measured") for point in found.points]
    predicted = [
        (f"{one.size:,.0f}", *_cells(one.accuracy), "all images" if one.factor == 1 else f"{one.factor} × as many")
        for one in found.forecasts
    ]
    console.table((f"training {found.unit}", "accuracy", "95 % interval", ""), [*measured, *predicted])
    console.print(_verdict(found))
    if found.target:
        console.print(_needed(found, *found.target))


def _cells(accuracy: Estimate) -> tuple[str, str]:
    return percent(accuracy.value), percent_range(accuracy.low, accuracy.high)


def _verdict(found: LearningCurve) -> str:
    """Return one sentence on twice as many images."""
    gain, removed = found.forecasts[1].gain, found.removed_by_doubling
    word = "would help" if found.would_help else "would help little"
    points = f"{100 * gain.value:.1f} points ({100 * gain.low:.1f} to {100 * gain.high:.1f})"
    text = f"Twice as many images {word}: accuracy +{points}, {percent(removed.value)} fewer errors"
    text += f" ({percent_range(removed.low, removed.high)})."
    return " ".join(filter(None, (text, other_limits(found))))


def other_limits(found: LearningCurve) -> str:
    """Return what can limit an accuracy that more images would not improve; nothing if they would, or at 100 %."""
    if found.would_help or found.points[-1].accuracy.value == 1:
        return ""
    return "What limits the accuracy can be the backbone or wrong labels, which `cnncli data review RUN` finds."


def _needed(found: LearningCurve, accuracy: float, needed: Estimate) -> str:
    """Return one sentence on the number of images for an accuracy."""
    limit, present, fewest = FAR * found.forecasts[0].size, found.forecasts[0].size, found.points[0].size
    if needed.high <= fewest:
        text = f"{percent(accuracy)} is reached with {fewest:,.0f} {found.unit}, the fewest that were tried"
        return f"{text}; there are {present:,.0f}."
    numbers = [_rough(max(one, fewest)) if one <= limit else "never" for one in (needed.low, needed.high)]
    if not math.isfinite(needed.value) or needed.value > limit:
        text = f"More images of this kind will probably not reach {percent(accuracy)}"
        is_known = present < needed.low <= limit
        earliest = f"; if they do, then with at least {numbers[0]} {found.unit}" if is_known else ""
        return f"{text}{earliest}."
    interval = f"95 % interval {numbers[0]} to {numbers[1]}"
    if needed.value <= present:
        about = f"about {_rough(max(needed.value, fewest))} {found.unit} ({interval})"
        return f"{percent(accuracy)} is reached with {about}; there are {present:,.0f}."
    return f"{percent(accuracy)} needs about {_rough(needed.value)} {found.unit} ({interval})."


def _rough(number: float) -> str:
    """Return a number of images with two significant digits, as precisely as it is known.

    >>> _rough(361_028), _rough(77.4)
    ('360,000', '77')
    """
    return f"{float(f'{number:.2g}'):,.0f}"
