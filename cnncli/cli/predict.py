"""`cnncli predict`: class probabilities of images."""

from __future__ import annotations

import csv
import logging
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from cnncli.cli.options import OUT_FILE, console_options, example, json_option, print_json, runs_dir_option
from cnncli.errors import ImageError, Message, printable
from cnncli.terminal.console import Console, is_terminal
from cnncli.terminal.formatting import percent

if TYPE_CHECKING:
    from cnncli.inference.prediction import Prediction

log = logging.getLogger(__name__)


@click.command(epilog=example("cnncli predict photo.jpg holiday/ --top 1 --csv > classes.csv"))
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--run",
    "runs",
    metavar="RUN",
    multiple=True,
    help="Run directory or name of a run; repeatable with --ensemble.  [default: the newest finished run]",
)
@click.option(
    "--ensemble",
    type=click.Choice(["mean", "vote"]),
    help="Predict with several runs together: by the mean of their probabilities, or by vote.",
)
@click.option(
    "--backbone",
    metavar="NETWORK",
    help="Name the 1,000 classes of ImageNet with a published network instead of a run; see `cnncli backbones`.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="K",
    help="Maximum number of classes per image.  [default: 5; multi-label: all labels above their threshold]",
)
@click.option(
    "--coverage",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    metavar="X",
    help="Answer images that are no more doubtful than this fraction (0-1) of the run's validation images; others are "
    "unknown; 1: answer every image.  [default: the run's evaluation.coverage]",
)
@json_option
@click.option(
    "--csv",
    "as_csv",
    is_flag=True,
    help="Print CSV, a line per image and class: path, rank, label, probability and, if the run can abstain, unknown.",
)
@click.option(
    "--table",
    type=OUT_FILE,
    metavar="FILE",
    help="Write a .csv, .parquet or .xlsx with a row per image and a column per class. Images that cannot be used are "
    "rows with an error.",
)
@click.option(
    "--kaggle",
    type=OUT_FILE,
    metavar="FILE.csv",
    help="Write a submission, as for Kaggle's Dogs vs. Cats: columns id (name of the file without suffix) and label "
    "(probability of the second of two classes).",
)
@runs_dir_option
@console_options
def command(
    paths: tuple[str, ...],
    runs: tuple[str, ...],
    ensemble: Literal["mean", "vote"] | None,
    backbone: str | None,
    top: int | None,
    coverage: float | None,
    as_json: bool,
    as_csv: bool,
    table: Path | None,
    kaggle: Path | None,
    runs_dir: Path,
    console: Console,
) -> None:
    """Classify images with a run or a published network.

    PATH is an image, a folder, a pattern such as 'photos/*.jpg', or - for an image on standard input. An image that is
    unlike the training images, or uncertain, is unknown. Images that cannot be used are reported on stderr; the others
    are classified, and the exit code is 2.
    """
    if as_json and as_csv:
        raise click.UsageError(Message("usage-options-conflict", "--json and --csv cannot be used together."))
    if (len(runs) > 1) != (ensemble is not None):
        text = "--ensemble needs several --run, and several --run need --ensemble."
        raise click.UsageError(Message("usage-ensemble", text, received=len(runs)))
    run = runs[0] if runs else None
    if run is not None and backbone is not None:
        raise click.UsageError(Message("usage-options-conflict", "--run and --backbone cannot be used together."))
    if coverage is not None and (backbone is not None or ensemble is not None):
        text = "--coverage cannot be used together with --backbone or --ensemble."
        raise click.UsageError(Message("usage-options-conflict", text))
    others = (as_json or None, as_csv or None, table, top, coverage, backbone, ensemble)
    if kaggle is not None and any(option is not None for option in others):
        text = "--kaggle can only be used together with --run."
        raise click.UsageError(Message("usage-options-conflict", text))
    if table is not None and (as_csv or top is not None):
        text = "--table, which has all classes, cannot be used together with --csv or --top."
        raise click.UsageError(Message("usage-options-conflict", text))
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.predict import predict, predict_ensemble, predict_imagenet, write_submission
    from cnncli.recipes.predict_folder import ALL_CLASSES, write_table
    from cnncli.storage.tables import table_path

    if kaggle is not None:
        unusable = write_submission(open_named_run(run, runs_dir), paths, kaggle, console)
        for error in unusable:
            log.warning(error.problems[0])
        if unusable:
            click.get_current_context().exit(2)
        log.info(f"submission {printable(kaggle)}")
        return
    if table is not None:
        table, top = table_path(table), ALL_CLASSES
    prints_lines = not (as_json or table) and is_terminal(sys.stdout)
    shown_on = None if prints_lines else console  # results show the progress, and a bar would garble them
    if ensemble is not None:
        folders = [open_named_run(one, runs_dir) for one in runs]
        results = predict_ensemble(folders, ensemble, paths, top, shown_on)
    elif backbone is None:
        results = predict(open_named_run(run, runs_dir), paths, top, shown_on, coverage)
    else:
        results = predict_imagenet(backbone, paths, top, shown_on)
    found: list[Prediction] = []
    refused = 0
    warned: set[str] = set()
    write = found.append if as_json else _csv_lines(results.abstains) if as_csv else _print_line
    with closing(write_table(table, results) if table else results.found) as recorded:
        for result in recorded:
            if isinstance(result, ImageError):
                refused += 1
                _warn(result, warned)
            elif as_json or not table:
                write(result)
    if table is not None:
        log.info(f"table {printable(table)}, {results.n:,} rows")
    if as_json:
        print_json(found)
    if refused:
        click.get_current_context().exit(2)


def _warn(error: ImageError, warned: set[str]) -> None:
    """Report an image that cannot be used; that a reader is not installed, only once."""
    if error.code == "image-reader-not-installed":
        if (kind := str(error.facts["received"])) in warned:
            return
        warned.add(kind)
    log.warning(error.problems[0])


def _print_line(prediction: Prediction) -> None:
    pairs = zip(prediction.labels, prediction.probabilities, strict=True)
    classes = "  ".join(f"{label} {percent(probability)}" for label, probability in pairs) or "no label"
    answer = f"unknown ({classes})" if prediction.unknown else classes
    click.echo(printable(f"{prediction.path}: {answer}"))


def _csv_lines(abstains: bool) -> Callable[[Prediction], None]:
    """Print the header of a CSV in long form, and return a function that prints a prediction.

    An image without labels has one line with rank 0. The column `unknown` exists only if the run abstains.

    All text is quoted, because a carriage return in a name would otherwise end the line.
    """
    table = csv.writer(sys.stdout, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    table.writerow(["path", "rank", "label", "probability", *(["unknown"] if abstains else [])])
    text = printable if is_terminal(sys.stdout) else str

    def write(prediction: Prediction) -> None:
        pairs = zip(prediction.labels, prediction.probabilities, strict=True)
        unknown = [str(prediction.unknown).lower()] if abstains else []
        for rank, (label, probability) in enumerate(pairs, start=1):
            table.writerow([text(prediction.path), rank, text(label), probability, *unknown])
        if not prediction.labels:
            table.writerow([text(prediction.path), 0, "", "", *unknown])

    return write
