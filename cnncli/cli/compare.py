"""`cnncli compare`: several runs in one figure and one table."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncli.cli.options import (
    OUT_FILE,
    console_options,
    example,
    json_option,
    print_json,
    runs_argument,
    runs_dir_option,
)
from cnncli.errors import printable
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import count_text, duration, percent, percent_range, short_path

if TYPE_CHECKING:
    from cnncli.evaluation.agreement import Agreement
    from cnncli.recipes.compare import Comparison

SPLITS = ("training", "validation", "test")
INTERVAL, IMAGES = "95 % interval", "images"
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
MAX_DISPUTED = 10
"""Number of images with different predictions that are printed; JSON and the page have more."""


@click.command(epilog=example("cnncli compare vgg16-features resnet50-features --out networks.png --published 0.975"))
@runs_argument("runs", required=True)
@out_option
@click.option("--html", type=OUT_FILE, metavar="FILE.html", help="Write a page with everything, as one file.")
@metric_option
@x_option
@published_option
@runs_dir_option
@json_option
@console_options
def command(
    runs: tuple[str, ...],
    out: Path | None,
    html: Path | None,
    metric: str | None,
    x: str,
    published: tuple[tuple[float, str], ...],
    runs_dir: Path,
    as_json: bool,
    console: Console,
) -> None:
    """Compare runs: results, tests, curves, differing settings.

    RUN is a run directory or its name. Prints the results of each run, the settings in which the runs differ, an exact
    McNemar test of each pair on the test images that all of them evaluate, and the images on which they disagree. With
    --out, draws the metric over the training: dashed for training images, solid for validation, a star for the test.
    With --x KEY, draws the final values over a setting such as data.train_images, over the number of training images,
    the depth of the backbone or its ImageNet accuracy; the mean and the extremes for runs that differ only in the seed.
    """
    from cnncli.recipes.compare import compare, compare_images, write_page
    from cnncli.report.comparison import Published
    from cnncli.runs.listing import open_run
    from cnncli.storage.atomic import output_path

    if html is not None:
        output_path(html, (".html",))
    folders = [open_run(run, runs_dir) for run in runs]
    found = compare(folders, out, metric, x, [Published(*one) for one in published])
    found = compare_images(found, console)
    print_comparison(found, as_json, console)
    if html is not None:
        write_page(found, html, x)
        log.info(f"page {printable(html)}")


def print_comparison(
    comparison: Comparison, as_json: bool, console: Console, document: Mapping[str, Any] | None = None
) -> None:
    """Print the results of runs and the settings in which they differ, or `document` as JSON."""
    if as_json:
        print_json(document or comparison)
        return
    print_results(comparison, console)
    print_settings(comparison, console)
    if comparison.agreement is not None:
        print_agreement(comparison.agreement, console)
    if comparison.figure is not None:
        log.info(f"figure {printable(comparison.figure)}")


def print_results(comparison: Comparison, console: Console) -> None:
    """Print a row of results for each run, and for each published value."""
    from cnncli.metrics.table import PREFIXES, metric_of, split_of

    split, name = split_of(comparison.metric)
    text = metric_of(comparison.metric).text
    names = {one: PREFIXES[one] + name for one in SPLITS}
    with_interval = {one for one, full in names.items() if any(run.interval(full) for run in comparison.runs)}
    with_images = {one for one in SPLITS if any(run.n_images(one) for run in comparison.runs)}
    headings = ["run", "epoch", *(["classes"] if comparison.shows_classes else [])]
    for one, full in names.items():
        heading = f"training {name}" if one == "training" else full
        headings += [heading, *([INTERVAL] if one in with_interval else []), *([IMAGES] if one in with_images else [])]
    rows = []
    for run in comparison.runs:
        epochs = f"{len(run.history)}" if run.best_epoch is None else f"{run.best_epoch} of {len(run.history)}"
        epochs = "–" if run.is_solved else epochs
        cells, seconds = [run.name, epochs], run.facts.get("seconds")
        cells += [count_text(run.n_classes)] if comparison.shows_classes else []
        for one, full in names.items():
            value, interval = run.final(full), run.interval(full)
            cells.append("–" if value is None else text(value))
            cells += ["–" if interval is None else percent_range(*interval)] if one in with_interval else []
            cells += [count_text(run.n_images(one))] if one in with_images else []
        rows.append((*cells, "–" if seconds is None else duration(seconds)))
    for published in comparison.published:
        cells = [f"published: {published.name}", "", *([""] if comparison.shows_classes else [])]
        for one in SPLITS:
            cells += [text(published.value) if one == split else ""]
            cells += [""] * ((one in with_interval) + (one in with_images))
        rows.append((*cells, ""))
    console.table((*headings, "time"), rows, optional=("time", "epoch", INTERVAL, IMAGES))


def print_settings(comparison: Comparison, console: Console) -> None:
    """Print the settings in which runs differ."""
    if comparison.settings:
        console.print("")
        print_table_of_settings([run.name for run in comparison.runs], comparison.settings, console)


def print_table_of_settings(
    names: Sequence[str], settings: Mapping[str, Sequence[Any]], console: Console, results: Sequence[str] = ()
) -> None:
    """Print a row for each run or, if the settings are many, for each setting; `results` are those of validation."""
    from cnncli.config.tree import setting_text

    rows = {**({"val_accuracy": results} if results else {}), **settings}
    columns = [[setting_text(value) for value in values] for values in rows.values()]
    if len(columns) <= max(MAX_SETTINGS, len(names)):
        console.table(("run", *rows), list(zip(names, *columns, strict=True)))
    else:
        console.table(("setting", *names), [(key, *values) for key, values in zip(rows, columns, strict=True)])


def print_agreement(found: Agreement, console: Console) -> None:
    """Print the test of each pair of runs, and the most confident disagreements."""
    from cnncli.report.comparison_page import describe_test, p_text, points

    console.print("")
    if not found.tests:
        console.print(f"The runs share no {found.split} images.")
        return
    if found.n_left_out:
        console.print(f"The runs share {found.n:,} {found.split} images; {found.n_left_out:,} others are left out.")
    if len(found.tests) == 1:
        console.print(describe_test(found.tests[0]))
    else:
        rows = [(test.first, test.second, points(test), p_text(test.p), p_text(test.p_holm)) for test in found.tests]
        console.table(("run", "other run", "difference (95 % interval)", "p (McNemar)", "p (Holm)"), rows)
    console.print(f"different predictions: {len(found.disagreements):,} of {found.n:,} {found.split} images")
    disputed = [
        (
            short_path(one.image.path).as_posix(),
            one.image.label,
            *(
                f"{', '.join(labels) or 'no label'} {percent(confidence)}"
                for labels, confidence in zip(one.predictions, one.confidences, strict=True)
            ),
        )
        for one in found.disagreements[:MAX_DISPUTED]
    ]
    if disputed:
        console.table(("image", "label", *found.names), disputed)
