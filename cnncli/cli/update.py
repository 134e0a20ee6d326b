"""`cnncli update`: add images or classes to a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli.cli.options import PATH, console_options, example, json_option, print_json, run_argument, runs_dir_option
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import percent, percent_range

if TYPE_CHECKING:
    from cnncli.recipes.update import ClassChange, UpdateResult


@click.command(epilog=example("cnncli update quickstart --data rabbits/"))
@run_argument
@click.option(
    "--data",
    type=PATH,
    required=True,
    metavar="DIR|TABLE",
    help="Folder with class folders, or table, of the additional images; one class suffices.",
)
@runs_dir_option
@json_option
@console_options
def command(run: str | None, data: Path, runs_dir: Path, as_json: bool, console: Console) -> None:
    """Add images or classes to a finished run.

    RUN is a run directory or its name; default: the newest finished one. The head is solved again, in a new run, on the
    cached features of the run's images, whose files can be gone, and on those of the additional images. Accuracies
    before and after are shown for each class, on the same images. The head must be one linear layer on a frozen
    backbone.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.update import update

    found = update(open_named_run(run, runs_dir), data, runs_dir, console)
    if as_json:
        print_json(found)
    else:
        print_update(found, console)


def print_update(found: UpdateResult, console: Console) -> None:
    """Print the metrics of an updated run, and each class before and after."""
    from cnncli.cli.render import print_end, print_run
    from cnncli.report.comparison_page import describe_test

    print_run(found.run, as_json=False, console=console)
    console.print("")
    columns = ("class", f"{found.split} images", "before", "95 % interval", "after", "95 % interval", "training images")
    console.table(columns, [_row(one) for one in found.classes])
    if found.test:
        console.print(f"old classes: {describe_test(found.test)}")
    print_end(found.run, as_json=False)


def _row(one: ClassChange) -> tuple[str, ...]:
    cells = [one.name, f"{one.n:,}"]
    for value, interval in ((one.before, one.before_ci95), (one.after, one.after_ci95)):
        cells += ["–" if value is None else percent(value), "–" if interval is None else percent_range(*interval)]
    added = one.n_train - one.n_train_before
    return (*cells, f"{one.n_train_before:,} + {added:,}")
