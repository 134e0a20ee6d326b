"""`cnncli predict`: class probabilities of images."""

from __future__ import annotations

import csv
import logging
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from cnncli.cli.options import (
    OUT_FILE,
    complete_runs,
    console_options,
    coverage_option,
    example,
    json_line,
    json_option,
    print_json,
    runs_dir_option,
)
from cnncli.errors import ImageError, Message, printable
from cnncli.terminal.console import Console, is_terminal
from cnncli.terminal.formatting import counted, percent

if TYPE_CHECKING:
    from cnncli.inference.prediction import Prediction
    from cnncli.inference.predictor import Predictor

log = logging.getLogger(__name__)


@click.command(epilog=example("cnncli predict photo.jpg holiday/ --top 1 --csv > classes.csv"))
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--run",
    "runs",
    metavar="RUN",
    multiple=True,
    shell_complete=complete_runs,
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
@coverage_option
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
    "--sort-into",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Link each image into a folder of its class in DIR, or into `unknown`. Images stay where they are.",
)
@click.option("--copy", "copies", is_flag=True, help="With --sort-into: copy images where they could be linked.")
@click.option(
    "--watch",
    is_flag=True,
    help="Also predict images that arrive in the folders, until Ctrl-C. Images in the --table are not repeated; "
    "--json prints a line per image.",
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
    sort_into: Path | None,
    copies: bool,
    watch: bool,
    kaggle: Path | None,
    runs_dir: Path,
    console: Console,
) -> None:
    """Classify images with a run or a published network.

    PATH is an image, a folder, a pattern such as 'photos/*.jpg', or - for an image on standard input. An image that is
    unlike the training images, or uncertain, is unknown. Images that cannot be used are reported on stderr, and by
    --json and --table; the others are classified, and the exit code is 2.
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
    others = (as_json or None, as_csv or None, table, sort_into, watch or None, top, coverage, backbone, ensemble)
    if kaggle is not None and any(option is not None for option in others):
        text = "--kaggle can only be used together with --run."
        raise click.UsageError(Message("usage-options-conflict", text))
    if as_csv and (table is not None or sort_into is not None or watch):
        text = "--csv cannot be used together with --table, --sort-into or --watch."
        raise click.UsageError(Message("usage-options-conflict", text))
    if watch and ensemble is not None:
        raise click.UsageError(Message("usage-options-conflict", "--watch cannot be used together with --ensemble."))
    if copies and sort_into is None:
        raise click.UsageError(Message("usage-options-conflict", "--copy needs --sort-into."))
    from cnncli.cli.render import open_named_run
    from cnncli.recipes import predict as recipe
    from cnncli.recipes import predict_folder

    if kaggle is not None:
        unusable = recipe.write_submission(open_named_run(run, runs_dir), paths, kaggle, console)
        for error in unusable:
            log.error(error.problems[0])
        if unusable:
            click.get_current_context().exit(2)
        log.info(f"submission {printable(kaggle)}")
        return
    to = predict_folder.Destination.of(paths, table, sort_into, copies)
    n_classes = predict_folder.ALL_CLASSES if to.is_set else top
    prints_lines = not (as_json or to.is_set) and is_terminal(sys.stdout)
    shown_on = None if prints_lines else console  # results show the progress, and a bar would garble them
    if watch:
        predictor = _open_predictor(backbone, run, runs_dir, coverage)
        results = predict_folder.watch(predictor, paths, to)
        log.info(f"watching {', '.join(map(printable, paths))}; Ctrl-C ends")
    elif ensemble is not None:
        folders = [open_named_run(one, runs_dir) for one in runs]
        results = recipe.predict_ensemble(folders, ensemble, paths, n_classes, shown_on)
    elif backbone is None:
        results = recipe.predict(open_named_run(run, runs_dir), paths, n_classes, shown_on, coverage)
    else:
        results = recipe.predict_imagenet(backbone, paths, n_classes, shown_on)
    found: list[object] = []
    refused, counts = 0, Counter[str | None]()
    warned: set[str] = set()
    write = _csv_lines(results.abstains) if as_csv else _print_line
    write_json = _print_json_line if watch else found.append
    if as_json:
        write = write_json
    is_shown = as_json or watch or not to.is_set
    is_summarized = to.is_set and not watch
    with closing(results.found if watch else predict_folder.record(results, to)) as recorded:
        for result in recorded:
            if isinstance(result, ImageError):
                refused += 1
                _report(result, warned, logging.WARNING if watch else logging.ERROR)
                if as_json:
                    write_json({"path": str(result.path), "error": str(result.reason), "code": result.code})
                continue
            if is_summarized:
                counts.update(predict_folder.counted_as(result, results.spec))
            if is_shown:
                write(predict_folder.shortened(result, results.spec, top) if to.is_set or watch else result)
    if is_summarized:
        log.info(f"predicted {predict_folder.describe_counts(counts, refused)}")
    if to.table is not None:
        log.info(f"table {printable(to.table)}, {counted(results.n, 'row')}")
    if to.sort_into is not None:
        log.info(f"sorted {results.n - refused:,} images into {printable(to.sort_into)}")
    if as_json:
        print_json(found)
    if refused:
        click.get_current_context().exit(2)


def _open_predictor(backbone: str | None, run: str | None, runs_dir: Path, coverage: float | None) -> Predictor:
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.predict import open_predictor

    if backbone is None:
        return open_predictor(open_named_run(run, runs_dir), coverage)
    from cnncli.inference.pretrained import load_pretrained

    return load_pretrained(backbone)


def _print_json_line(document: object) -> None:
    click.echo(json_line(document))


def _report(error: ImageError, warned: set[str], level: int) -> None:
    """Report an image that cannot be used; that a reader is not installed, only once."""
    if error.code == "image-reader-not-installed":
        if (kind := str(error.facts["received"])) in warned:
            return
        warned.add(kind)
    log.log(level, error.problems[0])


def _print_line(prediction: Prediction) -> None:
    pairs = zip(prediction.labels, prediction.probabilities, strict=True)
    classes = "  ".join(f"{label} {percent(probability)}" for label, probability in pairs) or "no label"
    answer = f"unknown, {prediction.reason} ({classes})" if prediction.unknown else classes
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
