"""`cnncli crossval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

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
from cnncli.terminal.formatting import decimal, percent, percent_range

if TYPE_CHECKING:
    from cnncli.evaluation.cross_validation import CrossValidation

MAX_CLASSES = 12
"""Number of classes that are printed, those with the lowest recall first if there are more."""

folds_option = click.option(
    "--folds", type=click.IntRange(min=3), metavar="K", help="Number of folds.  [default: data.folds, else 5]"
)


@click.command(epilog=example("cnncli crossval configs/quickstart.yaml --repeats 5"))
@config_argument
@overrides_argument
@folds_option
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=1,
    metavar="R",
    help="Repeat with folds of R seeds, the first of which is that of the config.",
)
@click.option("--out", type=OUT_FILE, metavar="FILE.csv", help="Write the prediction of each held-out image.")
@json_option
@console_options
def command(
    config: Path,
    overrides: tuple[str, ...],
    folds: int | None,
    repeats: int,
    out: Path | None,
    as_json: bool,
    console: Console,
) -> None:
    """Cross-validate the head of a config.

    Training and validation images are divided into folds, with the proportions of the classes and with groups (and
    identical images) in one fold. The head is solved exactly without each fold, with an L2 strength chosen without it,
    and evaluated on it, so that every image is evaluated once. Test images are not used. Features come from the cache.
    """
    from cnncli.dataset.source import read_config
    from cnncli.recipes.crossval import crossval

    show = result_printer(print_cross_validation, console, as_json)
    crossval(read_config(config, overrides), console, folds, repeats, out, show)
    log_written("predictions", out)


def print_cross_validation(found: CrossValidation, console: Console) -> None:
    """Print the result of each seed, the mean with its intervals, and the results of each class."""
    rows = [
        (
            *(str(repeat.seed), percent(repeat.metrics.top1), percent_range(*repeat.metrics.top1_ci95)),
            *(decimal(repeat.metrics.loss), percent_range(*_range([fold.accuracy for fold in repeat.folds]))),
        )
        for repeat in found.repeats
    ]
    columns = ("seed", "accuracy", "95 % interval", "loss", "worst–best fold")
    console.table(columns, rows, optional=("worst–best fold",))
    interval = f"95 % interval {percent_range(*found.ci95)} for {found.n:,} images"
    console.print(f"accuracy {percent(found.accuracy)}, {interval}")
    if found.seeds_ci95:
        console.print(f"95 % interval over the seeds {percent_range(*found.seeds_ci95)}")
    console.print(f"standard deviation over the folds {percent(found.folds_std)}")
    classes = list(found.per_class().items())
    if len(classes) > MAX_CLASSES:
        classes = sorted(classes, key=lambda one: one[1]["recall"])[:MAX_CLASSES]
        console.print(f"the {MAX_CLASSES} classes with the lowest recall:")
    console.table(
        ("class", "images", "precision", "recall", "F1"),
        [
            (name, f"{one['n']:,}", percent(one["precision"]), percent(one["recall"]), percent(one["f1"]))
            for name, one in classes
        ],
        optional=("F1",),
    )


def _range(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)
