"""`cnncli runs`: list the runs, and delete checkpoints that are no longer needed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli.cli.options import console_options, example, json_option, print_json, runs_argument, runs_dir_option
from cnncli.errors import Message
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.runs.listing import RunSummary

MOST_COMPARED = 8
"""Number of runs in the table of --diff, unless runs are selected."""

log = logging.getLogger(__name__)


@click.group(
    invoke_without_command=True,
    epilog=example("cnncli runs --where 'validation.accuracy>0.95' --sort -validation.accuracy"),
)
@click.option("--diff", is_flag=True, help="Show the settings in which the runs differ, with validation results only.")
@click.option(
    "--where",
    multiple=True,
    metavar="EXPR",
    help="Only list runs that fulfill KEY=VALUE, or != < <= > >=; several conditions must all hold.",
)
@click.option("--sort", metavar="KEY", help="Sort by a key; -KEY: largest first.")
@runs_dir_option
@json_option
@click.pass_context
@console_options
def command(
    context: click.Context,
    diff: bool,
    where: tuple[str, ...],
    sort: str | None,
    runs_dir: Path,
    as_json: bool,
    console: Console,
) -> None:
    """List the runs with their results.

    The oldest run comes first. Columns are name, state, mode, backbone, validation and test accuracy, the 95 %
    interval and number of images of the latter, and the duration. A run is `interrupted` if its process was killed; it
    can be resumed.

    A KEY of --where and --sort is a setting (training.epochs), a fact (name, state, mode, backbone, engine, precision,
    created, seconds, ...) or a result: SPLIT.METRIC, such as test.accuracy or validation.loss. Runs that lack it do not
    fulfill a condition, and are sorted last. Quote conditions with < and >.

    With --diff, the table has the settings in which the runs differ instead, beside the validation accuracy: of the
    newest 8 runs, or of all that --where and --sort select. Choose by validation: a test result by which runs are
    chosen is too good.
    """
    if context.invoked_subcommand is not None:
        return
    from cnncli.runs.listing import COLUMNS, OPTIONAL, list_runs

    runs = list_runs(runs_dir)
    if where or sort:
        from cnncli.runs.query import mixed_definitions, select

        runs = select(runs, where, sort)
        if sort and (problem := mixed_definitions(runs, sort)):
            log.warning(problem)
    if diff:
        readable = [run for run in runs if run.problem is None]
        if len(readable) > MOST_COMPARED and not (where or sort or as_json):
            log.info(
                f"the newest {MOST_COMPARED} of {len(readable)} runs; --where and --sort show all that they select"
            )
            readable = readable[-MOST_COMPARED:]
        _print_differences(readable, as_json, console)
    elif as_json:
        print_json(runs)
    elif runs:
        console.table(COLUMNS, [run.cells() for run in runs], optional=OPTIONAL)
        for run in runs:
            if run.problem:
                log.warning(run.problem)
    else:
        log.info(f"no runs in {runs_dir}{' fulfill the conditions' if where else ''}")


def _print_differences(runs: Sequence[RunSummary], as_json: bool, console: Console) -> None:
    """Print the settings in which runs differ, and their validation accuracies; the test is not shown."""
    from cnncli.cli.compare import print_table_of_settings
    from cnncli.runs.folder import RunFolder
    from cnncli.runs.results import differing_settings, load_runs
    from cnncli.terminal.formatting import percent, percent_range

    loaded = load_runs([RunFolder(run.path) for run in runs])
    settings = differing_settings(loaded)
    # First those in which most runs differ from the usual value.
    usual = {key: max(map(values.count, values)) for key, values in settings.items()}
    settings = {key: settings[key] for key in sorted(settings, key=usual.__getitem__)}
    found = [(run.final("val_accuracy"), run.interval("val_accuracy")) for run in loaded]
    if as_json:
        rows = zip(loaded, found, *settings.values(), strict=True)
        print_json(
            [
                {
                    **{"name": run.name, "path": run.folder.path, "val_accuracy": accuracy, "val_ci95": interval},
                    "settings": dict(zip(settings, values, strict=True)),
                }
                for run, (accuracy, interval), *values in rows
            ]
        )
    elif runs:
        results = [
            "–" if accuracy is None else f"{percent(accuracy)}{f' ({percent_range(*interval)})' if interval else ''}"
            for accuracy, interval in found
        ]
        print_table_of_settings([run.name for run in loaded], settings, console, results)


@command.command(epilog=example("cnncli runs prune vgg16-features --dry-run"))
@runs_argument("names", required=True)
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@runs_dir_option
@json_option
@console_options
def prune(names: tuple[str, ...], dry_run: bool, yes: bool, runs_dir: Path, as_json: bool, console: Console) -> None:
    """Delete the checkpoints of finished runs.

    RUN is a run directory or its name. Models, metrics and everything else stay, but the run can no longer be extended
    with training.epochs=N. Asks for confirmation.
    """
    from cnncli.recipes.prune_runs import find_prunable, prune
    from cnncli.terminal.formatting import size

    sizes = find_prunable(names, runs_dir)
    total = sum(sizes.values())
    for run, n_bytes in sizes.items():
        log.info(f"{run.path}: checkpoints {size(n_bytes)}")
    if total and not dry_run:
        if not yes and not sys.stdin.isatty():
            text = "Deletion needs confirmation, but there is no terminal to prompt on. Use --yes or --dry-run."
            raise click.UsageError(Message("usage-confirmation-needed", text))
        if not yes:
            click.confirm(f"Delete {size(total)} of checkpoints?", abort=True, err=True)
        prune(sizes)
    if as_json:
        runs = [{"path": run.path, "size_bytes": n_bytes} for run, n_bytes in sizes.items()]
        print_json({"runs": runs, "freed_bytes": 0 if dry_run else total, "dry_run": dry_run})
    else:
        click.echo(f"{'would free' if dry_run else 'freed'} {size(total)}")
