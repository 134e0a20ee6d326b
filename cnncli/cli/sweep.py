"""`cnncli sweep`: train a grid of settings and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncli.cli.compare import out_option, print_comparison, published_option, x_option
from cnncli.cli.options import PATH, console_options, example, json_option, print_json, runs_dir_option
from cnncli.errors import CnncliError
from cnncli.metrics.table import VALIDATION, monitors
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.recipes.sweep import Cell, Sweep


class SeedsType(click.ParamType[tuple[int, ...]]):
    """Seeds separated by commas, such as 0,1,2."""

    name = "N,N..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the seeds."""
        try:
            return tuple(dict.fromkeys(int(word) for word in str(value).split(",")))
        except ValueError:
            self.fail(f"{value!r} is not a list of integers, such as 0,1,2.", param, ctx)


seeds_option = click.option("--seeds", type=SeedsType(), help="Train every combination with each of these seeds.")


@click.command(epilog=example("cnncli sweep configs/quickstart.yaml training.optimizer.learning_rate=1e-4,1e-3,1e-2"))
@click.argument("config", metavar="CONFIG|DIR|TABLE", type=PATH)
@click.argument("settings", metavar="[KEY=VALUE[,VALUE]...]...", nargs=-1)
@seeds_option
@out_option
@click.option(
    "--metric",
    type=click.Choice([name for name in monitors() if name.startswith(VALIDATION)]),
    default="val_accuracy",
    help="Metric to choose by and to draw.",
)
@x_option
@published_option
@click.option("--dry-run", is_flag=True, help="Only list the runs.")
@runs_dir_option
@json_option
@console_options
def command(
    config: Path,
    settings: tuple[str, ...],
    seeds: tuple[int, ...] | None,
    out: Path | None,
    metric: str,
    x: str,
    published: tuple[tuple[float, str], ...],
    dry_run: bool,
    runs_dir: Path,
    as_json: bool,
    console: Console,
) -> None:
    """Train a grid of settings and seeds, and compare the runs.

    Each KEY=VALUE,VALUE varies a setting; a single VALUE changes it in all runs. All configs are checked before the
    first run. Runs are found again by name and settings, so the same command continues an interrupted sweep and adds
    new values to a finished one. The best settings are chosen by the mean of a validation metric over the seeds, and
    only their test results are shown.
    """
    from cnncli.dataset.source import read_config
    from cnncli.recipes.sweep import plan_sweep, sweep
    from cnncli.report.comparison import Published

    cells = plan_sweep(lambda overrides: read_config(config, overrides), settings, seeds or ())
    if dry_run:
        print_plan(cells, as_json, console)
    else:
        values = [Published(*one) for one in published]
        print_sweep(sweep(cells, runs_dir, console, out, metric, x, values), as_json, console)


def print_plan(cells: Sequence[Cell], as_json: bool, console: Console) -> None:
    """Print the runs that a sweep would train."""
    if as_json:
        print_json([{"name": cell.name, "values": dict(cell.values)} for cell in cells])
    else:
        console.table(("run", *dict(cells[0].values)), [(cell.name, *dict(cell.values).values()) for cell in cells])


def print_sweep(found: Sweep, as_json: bool, console: Console) -> None:
    """Print the results of a sweep and the chosen runs. Raises CnncliError if some of its runs failed."""
    print_comparison(found.comparison, as_json, console, found.to_dict())
    if found.chosen and not as_json and len(found.comparison.runs) > len(found.chosen):
        names = ", ".join(run.name for run in found.comparison.runs if run.name in found.chosen)
        console.print(f"\nbest {found.comparison.metric}: {names}")
    if found.problems:
        raise CnncliError(found.problems)
