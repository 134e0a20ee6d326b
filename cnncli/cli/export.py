"""`cnncli export`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli.cli.options import console_options, example, json_option, print_json, run_argument, runs_dir_option
from cnncli.errors import printable
from cnncli.export.formats import FORMATS, N_IMAGES, PRECISIONS, TOLERANCE, Precision
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import decimal, measured, percent, percent_range, short_path, size

if TYPE_CHECKING:
    from cnncli.export.parity import Exported

log = logging.getLogger(__name__)


@click.command(epilog=example("cnncli export quickstart --format onnx --format litert --precision int8"))
@run_argument
@click.option(
    "--format",
    "formats",
    type=click.Choice(list(FORMATS)),
    multiple=True,
    required=True,
    help="Format of the file; repeatable.",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(PRECISIONS),
    multiple=True,
    default=PRECISIONS[:1],
    help="float16: half the size; int8: weights and activations, calibrated on training images; repeatable.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of the exports.  [default: exports in the run]",
)
@click.option("--license", "license_text", metavar="TEXT", help="License to state in the metadata, such as CC-BY-4.0.")
@click.option(
    "--images",
    "n_images",
    type=click.IntRange(min=1),
    metavar="N",
    default=N_IMAGES,
    help="Maximum number of validation images on which every export is run.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0.0, 1.0),
    metavar="X",
    default=TOLERANCE,
    help="Fraction of accuracy (0-1) that int8 may lose, besides one image.",
)
@runs_dir_option
@json_option
@console_options
def command(
    run: str | None,
    formats: tuple[str, ...],
    precisions: tuple[Precision, ...],
    out: Path | None,
    license_text: str | None,
    n_images: int,
    tolerance: float,
    runs_dir: Path,
    as_json: bool,
    console: Console,
) -> None:
    """Write a run's classifier as ONNX, LiteRT, OpenVINO and others.

    RUN is a run directory or its name; default: the newest finished run. Every file takes raw RGB pixels (0-255) and
    gives the probabilities that `cnncli predict` prints. It is run by its own runtime in a new process on validation
    images; if it gives other results, it is renamed to FORMAT-PRECISION.failed, and the exit code is 3.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.export import ExportSettings, export, require_agreement

    settings = ExportSettings(formats, precisions, out, license_text, n_images, tolerance)
    found = export(open_named_run(run, runs_dir), settings, console)
    if as_json:
        print_json(found)
    else:
        print_table(found, console)
    require_agreement(found)


def print_table(found: Sequence[Exported], console: Console) -> None:
    """Print a table of exports, and to stderr where they are."""
    from cnncli.evaluation.parity import held

    columns = (
        *("format", "precision", "images", "accuracy", "of the run", "difference", "to float32", "size", "ms/image"),
        "agrees",
    )
    rows = [
        (
            *(one.format, one.precision, f"{one.n:,}", _accuracy(one), percent(one.expected_top1)),
            *(measured(one.max_difference, decimal), measured(one.max_difference_float32, decimal)),
            *(size(one.size_bytes), measured(one.ms_per_image, "{:.2f}".format)),
            held(one.precision) if one.holds else "NO",
        )
        for one in found
    ]
    console.table(columns, rows, optional=("to float32", "images", "of the run"))
    for one in found:
        log.info(printable(short_path(one.path)))


def _accuracy(one: Exported) -> str:
    return measured(one.top1, lambda top1: f"{percent(top1)} ({percent_range(*one.top1_ci95)})")
