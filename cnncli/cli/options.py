"""Options and arguments shared by several commands, and JSON output."""

from __future__ import annotations

import functools
import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cnncli.errors import Message, printable
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
OUT_FILE = click.Path(dir_okay=False, path_type=Path)
"""A path, which need not exist, and one that must not be a folder. `cnncli.cli.main` refuses empty ones."""


log = logging.getLogger(__name__)


@dataclass
class Invocation:
    """Values of the shared options of a command line, given before or after the command."""

    quiet: bool = False
    verbose: bool = False
    no_color: bool = False
    runs_dir: Path | None = None

    def console(self) -> Console:
        """Return a console that obeys the options."""
        return Console(quiet=self.quiet, verbose=self.verbose, color=False if self.no_color else None)


def _remember(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        invocation = context.ensure_object(Invocation)
        setattr(invocation, str(parameter.name), value)
        if invocation.quiet and invocation.verbose:
            text = "--quiet and --verbose cannot be used together."
            raise click.UsageError(Message("usage-options-conflict", text), context)


def console_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --quiet, --verbose and --no-color as a command's last options. A group passes them on to its commands."""
    flag = functools.partial(click.option, is_flag=True, expose_value=False, callback=_remember)
    function = flag("--no-color", help="Do not use colors; NO_COLOR does the same.")(function)
    function = flag("-v", "--verbose", help="Show debug output.")(function)
    return flag("-q", "--quiet", help="Only show warnings and errors.")(function)


def console_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the console flags, and pass the command a `console: Console` that follows them."""

    @functools.wraps(function)
    def with_console(*args: Any, **kwargs: Any) -> Any:
        console = click.get_current_context().ensure_object(Invocation).console()
        return function(*args, console=console, **kwargs)

    return console_flags(with_console)


def _runs_dir(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path:
    from cnncli.runs.folder import runs_dir_from

    invocation = context.ensure_object(Invocation)
    if value is not None or invocation.runs_dir is None:  # `cnncli runs --runs-dir DIR prune RUN` sets it before
        invocation.runs_dir = runs_dir_from(value)
    return invocation.runs_dir


runs_dir_option = click.option(
    "--runs-dir",
    type=click.Path(file_okay=False, path_type=Path),
    callback=_runs_dir,
    metavar="DIR",
    help="Directory of the runs.  [default: $CNNCLI_RUNS, else ./runs]",
)
"""Adds --runs-dir, and passes the command an absolute `runs_dir: Path`."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
"""Adds --json, and passes the command `as_json: bool`."""

cluster_option = click.option(
    "--cluster", metavar="ADDRESS|auto", help="Work on a Ray cluster; auto: the one on this machine."
)
"""Adds --cluster, and passes the command `cluster: str | None`."""

coverage_option = click.option(
    "--coverage",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    metavar="X",
    help="Answer images that are no more doubtful than this fraction (0-1) of the run's validation images; others are "
    "unknown; 1: answer every image.  [default: the run's evaluation.coverage]",
)
"""Adds --coverage, and passes the command `coverage: float | None`."""


def complete_runs(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of the runs that begin so, the newest run first; of directories only if dates are typed."""
    from click.shell_completion import CompletionItem

    from cnncli.runs.folder import run_folders, runs_dir_from

    if os.sep in incomplete:
        return [CompletionItem(incomplete, type="dir")]
    folders = [run.path.name for run in run_folders(runs_dir_from(context.params.get("runs_dir")))]
    names = dict.fromkeys(name if incomplete[:1].isdigit() else name.partition("_")[2] for name in reversed(folders))
    return [CompletionItem(name) for name in names if name and name.startswith(incomplete)]


run_argument = click.argument("run", metavar="[RUN]", required=False, shell_complete=complete_runs)
"""Adds a run directory or the name of a run, and passes the command `run: str | None`."""

run_option = click.option(
    "--run",
    metavar="RUN",
    shell_complete=complete_runs,
    help="Run directory or name of a run.  [default: the newest finished run]",
)
"""Adds the same as --run."""


def runs_argument(name: str, *, required: bool) -> Callable[[F], F]:
    """Add run directories or names of runs, and pass the command a `tuple[str, ...]` with this name."""
    metavar = "RUN..." if required else "[RUN]..."
    return click.argument(name, metavar=metavar, nargs=-1, required=required, shell_complete=complete_runs)


config_argument = click.argument("config", metavar="CONFIG|DIR|TABLE", type=PATH)
"""Adds a config, a folder of images, shards or a table of labels, and passes the command `config: Path`."""

overrides_argument = click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
"""Adds settings at the end of a command line, and passes the command `overrides: tuple[str, ...]`."""


def example(line: str) -> str:
    """Return an example to copy, as the `epilog=` of a command's help."""
    return f"\b\nExample:\n  {line}"


def print_json(document: object) -> None:
    """Print a document of mappings, sequences, results, messages and NumPy's values as JSON."""
    click.echo(json.dumps(_plain(document), indent=2, allow_nan=False))


def result_printer(show: Callable[[T, Console], None], console: Console, as_json: bool) -> Callable[[T], None]:
    """Return a function that prints a result as JSON or by another function."""
    return lambda found: print_json(found) if as_json else show(found, console)


def log_written(kind: str, out: Path | None) -> None:
    """Print to stderr which file of a kind was written, if any."""
    if out is not None:
        log.info(f"{kind} {printable(out)}")


def json_line(document: object) -> str:
    """Return a document as JSON in one line."""
    return json.dumps(_plain(document), allow_nan=False)


def _plain(value: Any) -> Any:
    """Convert a value to JSON types. NaN becomes null, and a result becomes its `to_dict()` or its fields."""
    if isinstance(value, Message) and value.code:
        return {"code": value.code, "message": str(value)}
    if hasattr(value, "to_dict"):
        return _plain(value.to_dict())
    if is_dataclass(value):
        return _plain(vars(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
