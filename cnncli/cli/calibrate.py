"""`cnncli calibrate`: which images a run answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncli.cli.options import console_options, example, json_option, print_json, run_argument, runs_dir_option
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import percent

if TYPE_CHECKING:
    from cnncli.recipes.calibrate import CalibratedRun

COVERAGES = (1.0, 0.99, 0.95, 0.9, 0.8, 0.5)
"""Fractions of answered images in the table."""
FRACTION = click.FloatRange(0.0, 1.0, min_open=True)


class CostType(click.ParamType[tuple[str, float]]):
    """A class and a cost, such as toadstool=100."""

    name = "CLASS=COST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """Return the name of the class and the cost."""
        name, _, number = value.rpartition("=")
        try:
            return name, float(number)
        except ValueError:
            self.fail(f"{value!r} is not a class and a number, such as toadstool=100.", param, ctx)


@click.command(epilog=example("cnncli calibrate quickstart --coverage 0.9 --precision 0.99"))
@run_argument
@click.option(
    "--coverage",
    type=FRACTION,
    metavar="X",
    help="Fraction of the validation images to answer (0-1), the least doubtful ones.  [default: as before]",
)
@click.option(
    "--precision", type=FRACTION, metavar="X", help="Wanted fraction of right answers (0-1) for each predicted class."
)
@click.option(
    "--cost",
    "costs",
    type=CostType(),
    multiple=True,
    help="Cost of predicting the class wrongly, at least 1, the cost of answering unknown; can be repeated.",
)
@runs_dir_option
@json_option
@console_options
def command(
    run: str | None,
    coverage: float | None,
    precision: float | None,
    costs: tuple[tuple[str, float], ...],
    runs_dir: Path,
    as_json: bool,
    console: Console,
) -> None:
    """Choose which images a run answers, and which are unknown.

    RUN is a run directory or its name; default: the newest finished run. Everything is chosen by the validation images
    and recorded in the run; minimum confidences of earlier calls are replaced. Predictions, metrics and report of the
    run are written again; `cnncli report` adds explanations, `cnncli evaluate --figures` the figures. Prints the
    accuracy of the answers over their fraction, and the minimum confidence of each class.
    """
    from cnncli.cli.render import open_named_run, print_trust
    from cnncli.recipes.calibrate import calibrate

    found = calibrate(open_named_run(run, runs_dir), coverage, precision, dict(costs))
    if as_json:
        print_json(found)
        return
    print_trust(found.assessment, console)
    _print_tables(found, console)


def _print_tables(found: CalibratedRun, console: Console) -> None:
    if curve := found.assessment.coverage:
        shown = [min(curve, key=lambda one: abs(one.coverage - target)) for target in COVERAGES]
        rows = [(percent(one.coverage), percent(one.accuracy)) for one in dict.fromkeys(shown)]
        console.table(("answered", "accuracy"), rows)
    is_multi_label = found.assessment.metrics.is_multi_label
    if found.calibration.min_confidences or is_multi_label:
        console.table(
            ("label", "threshold", "recall", "precision")
            if is_multi_label
            else ("class", "minimum confidence", "answered", "precision"),
            [
                (
                    *(one.name, _minimum(one.min_confidence)),
                    *(percent(one.answered), "–" if one.precision is None else percent(one.precision)),
                )
                for one in found.classes
            ],
        )


def _minimum(confidence: float) -> str:
    if confidence > 1:
        return "never"
    return percent(confidence) if confidence else "–"
