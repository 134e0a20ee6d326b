"""`cnncli compare`: several runs in one figure and one table."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncli.cli.options import OUT_FILE, console_options, example, json_option, print_json, runs_dir_option
from cnncli.errors import printable
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import duration, percent_range

if TYPE_CHECKING:
    from cnncli.recipes.compare import Comparison

SPLITS = ("training", "validation", "test")
MAX_SETTINGS = 4
"""Number of differing settings that are columns of a table in any case."""

log = logging.getLogger(__name__)


class PublishedType(click.ParamType[tuple[float, str]]):
    """A published value and its source, such as 0.985=Chollet."""

    name = "VALUE=SOURCE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, str]:
        """Return the value and the name of the source."""
        number, _, source = value.partition("=")
        try:
            return float(number), source or "published"
        except ValueError:
            self.fail(f"{value!r} is not a number and a name, such as 0.985=Chollet.", param, ctx)


published_option = click.option(
    "--published",
    type=PublishedType(),
    multiple=True,
    help="Published value, drawn as a horizontal line; can be repeated.",
)
metric_option = click.option(
    "--metric",
    metavar="NAME",
    help="Metric to compare: accuracy, val_accuracy, test_accuracy or another that the runs have, such as val_loss or "
    "val_auc.  [default: val_accuracy; without validation images: accuracy]",
)
x_option = click.option(
    "--x",
    default="epoch",
    metavar="NAME",
    help="Horizontal axis: epoch, seconds, images or steps for curves; a setting, train_images, depth or imagenet for "
    "final values.",
)
out_option = click.option("--out", type=OUT_FILE, metavar="FILE.png", help="Draw a figure.")


@click.command(epilog=example("cnncli compare vgg16-features resnet50-features --out networks.png --published 0.975"))
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@out_option
@metric_option
@x_option
@published_option
@runs_dir_option
@json_option
@console_options
def command(
    runs: tuple[str, ...],
    out: Path | None,
    metric: str | None,
    x: str,
    published: tuple[tuple[float, str], ...],
    runs_dir: Path,
    as_json: bool,
    console: Console,
) -> None:
    """Compare runs: curves, results and differing settings.

    RUN is a run directory or its name. Prints the results of each run, and the settings in which the runs differ. With
    --out, draws the metric over the training: dashed for training images, solid for validation, a star for the test.
    With --x KEY, draws the final values over a setting such as data.train_images, over the number of training images,
    the depth of the backbone or its ImageNet accuracy; the mean and the extremes for runs that differ only in the seed.
    """
    from cnncli.recipes.compare import compare
    from cnncli.report.comparison import Published
    from cnncli.runs.listing import open_run

    folders = [open_run(run, runs_dir) for run in runs]
    print_comparison(compare(folders, out, metric, x, [Published(*one) for one in published]), as_json, console)


def print_comparison(
    comparison: Comparison, as_json: bool, console: Console, document: Mapping[str, Any] | None = None
) -> None:
    """Print the results of runs and the settings in which they differ, or `document` as JSON."""
    if as_json:
        print_json(document or comparison)
        return
    print_results(comparison, console)
    print_settings(comparison, console)
    if comparison.figure is not None:
        log.info(f"figure {printable(comparison.figure)}")


def print_results(comparison: Comparison, console: Console) -> None:
    """Print a row of results for each run, and for each published value."""
    from cnncli.metrics.table import TEST
    from cnncli.recipes.compare import PREFIXES, metric_of, split_of

    split, name = split_of(comparison.metric)
    text = metric_of(comparison.metric).text
    names = {one: PREFIXES[one] + name for one in SPLITS}
    rows = []
    for run in comparison.runs:
        finals = [run.final(one) for one in names.values()]
        interval = run.interval(TEST + name)
        seconds = run.facts.get("seconds")
        rows.append(
            (
                run.name,
                f"{len(run.history)}" if run.best_epoch is None else f"{run.best_epoch} of {len(run.history)}",
                *("–" if value is None else text(value) for value in finals),
                "–" if interval is None else percent_range(*interval),
                "–" if seconds is None else duration(seconds),
            )
        )
    for one in comparison.published:
        values = [text(one.value) if column == split else "" for column in SPLITS]
        rows.append((f"published: {one.name}", "", *values, "", ""))
    headings = ("run", "epoch", *names.values(), "95 % interval", "time")
    console.table(headings, rows, optional=("time", "epoch", "95 % interval"))


def print_settings(comparison: Comparison, console: Console) -> None:
    """Print the settings in which runs differ, as a row for each run or, if they are many, for each setting."""
    from cnncli.config.tree import format_value

    if not comparison.settings:
        return
    names = [run.name for run in comparison.runs]
    columns = [
        [value if isinstance(value, str) else format_value(value) for value in values]
        for values in comparison.settings.values()
    ]
    console.print("")
    if len(columns) <= max(MAX_SETTINGS, len(names)):
        console.table(("run", *comparison.settings), list(zip(names, *columns, strict=True)))
    else:
        rows = [(key, *values) for key, values in zip(comparison.settings, columns, strict=True)]
        console.table(("setting", *names), rows)
