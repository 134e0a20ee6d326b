"""`cnncli sweep`: train a grid of settings and seeds, random ones, or those that Optuna proposes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncli.cli.compare import metric_option, out_option, print_comparison, published_option
from cnncli.cli.options import (
    cluster_option,
    config_argument,
    console_options,
    example,
    json_option,
    print_json,
    runs_dir_option,
)
from cnncli.errors import CnncliError, ConfigError, Message
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import counted

if TYPE_CHECKING:
    from cnncli.config.schema import Config
    from cnncli.config.sweep_plan import Cell
    from cnncli.recipes.sweep import Sweep


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
@config_argument
@click.argument("settings", metavar="[KEY=VALUE[,VALUE]...]...", nargs=-1)
@seeds_option
@click.option(
    "--random",
    "n_draws",
    type=click.IntRange(min=1),
    metavar="N",
    help="Draw N combinations of the values at random instead of training all. LOW..HIGH is a range, uniform in the "
    "logarithm if HIGH is at least 100 times LOW.",
)
@click.option(
    "--optuna",
    "n_trials",
    type=click.IntRange(min=1),
    metavar="N",
    help="Train N combinations that Optuna proposes from the results so far; values as for --random.",
)
@click.option(
    "--random-seed", type=click.IntRange(min=0), default=0, metavar="SEED", help="Seed of the draws; 0 if not given."
)
@click.option(
    "--against",
    multiple=True,
    metavar="KEY=VALUE[,VALUE]...",
    help="Setting of a second search, a grid or with a range random, to compare with; can be repeated.",
)
@out_option
@metric_option
@click.option(
    "--x",
    metavar="NAME",
    help="Horizontal axis: as for compare, or trials for the best value so far.  [default: epoch; random search "
    "and Optuna: trials]",
)
@published_option
@cluster_option
@click.option("--dry-run", is_flag=True, help="Only list the runs.")
@runs_dir_option
@json_option
@console_options
def command(
    config: Path,
    settings: tuple[str, ...],
    seeds: tuple[int, ...] | None,
    n_draws: int | None,
    n_trials: int | None,
    random_seed: int,
    against: tuple[str, ...],
    out: Path | None,
    metric: str | None,
    x: str | None,
    published: tuple[tuple[float, str], ...],
    cluster: str | None,
    dry_run: bool,
    runs_dir: Path,
    as_json: bool,
    console: Console,
) -> None:
    """Train a grid of settings and seeds, and compare the runs.

    Each KEY=VALUE,VALUE varies a setting; a single VALUE changes it in all runs. With --random, combinations are drawn
    at random; with --optuna, each is proposed from the results of those before. All configs are checked before the
    first run. Runs are found again by name and settings, so the same command continues an interrupted sweep and adds
    new values to a finished one. Heads that are solved exactly are tried without runs. The best settings are chosen by
    the mean of a validation metric over the seeds, and only their test results are shown. Without validation images
    nothing is chosen, and no test results are shown. With --cluster, the nodes of a Ray cluster train several runs at a
    time, and stop those that fall behind.
    """
    from cnncli.cluster.machines import sweeping_on
    from cnncli.config.sweep_plan import OPTUNA, Draw, Search, plan_against, plan_searches
    from cnncli.dataset.source import read_config
    from cnncli.recipes.sweep import sweep
    from cnncli.report.comparison import Published

    def read(overrides: Sequence[str]) -> Config:
        return read_config(config, overrides)

    for option, is_given in (("--random", n_draws), ("--dry-run", dry_run), ("--cluster", cluster)):
        if n_trials and is_given:
            text = f"{option} and --optuna cannot be used together: Optuna proposes each run from the results so far."
            raise ConfigError(Message("usage-options-conflict", text, key=option))
    draw, proposals = Draw(n_draws, random_seed) if n_draws else None, None
    if n_trials:
        draw = Draw(n_trials, random_seed)
        proposals = Search.of(read, settings, seeds or (), OPTUNA), draw
        cells = plan_against(read, settings, against, seeds or (), draw, OPTUNA)
    else:
        cells = plan_searches(read, settings, against, seeds or (), draw)
    if dry_run:
        print_plan(cells, as_json, console)
    else:
        values = [Published(*one) for one in published]
        with sweeping_on(cluster) as elsewhere:
            found = sweep(cells, runs_dir, console, out, metric, x, values, proposals, elsewhere)
        print_sweep(found, as_json, console)


def print_plan(cells: Sequence[Cell], as_json: bool, console: Console) -> None:
    """Print the runs that a sweep would train."""
    if as_json:
        print_json([{"name": cell.name, "values": dict(cell.values)} for cell in cells])
    else:
        keys = dict.fromkeys(key for cell in cells for key, _ in cell.values)
        console.table(
            ("run", *keys), [(cell.name, *(dict(cell.values).get(key, "") for key in keys)) for cell in cells]
        )


def print_sweep(found: Sweep, as_json: bool, console: Console) -> None:
    """Print the results of a sweep and the chosen runs. Raises CnncliError if some of its runs failed."""
    print_comparison(found.comparison, as_json, console, found.to_dict())
    if not as_json:
        print_best(found, console)
    if found.problems:
        raise CnncliError(found.problems)


def print_best(found: Sweep, console: Console) -> None:
    """Print the chosen runs, and the best value of each search with the number of its trial."""
    from cnncli.metrics.table import metric_of

    if found.chosen and len(found.comparison.runs) > len(found.chosen):
        names = ", ".join(run.name for run in found.comparison.runs if run.name in found.chosen)
        console.print("")
        ties = f", the first of {found.n_tied + 1:,} settings with this value" if found.n_tied else ""
        console.print(f"best {found.monitor}: {names}{ties}")
        if found.lead:
            console.print(found.lead.text)
        if n := sum(run.folder is None for run in found.comparison.runs):
            console.print(f"{counted(n, 'head')} only tried on cached features, without a run directory")
    text = metric_of(found.monitor).text
    for name, points in found.searches.items():
        if points:
            best = points[-1].value
            trial = next(point.x for point in points if point.value == best)
            console.print(f"{name}: best {found.monitor} {text(best)} in trial {trial}")
