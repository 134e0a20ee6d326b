"""The options that several commands share, and how a result reaches stdout."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


class NonEmptyPath(click.Path):
    """A path that is not empty: an unset shell variable must not stand for the current folder."""

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, file_okay=file_okay, dir_okay=dir_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert as click does, but refuse the empty string."""
        if value == "":
            self.fail("The path is empty; write . for the current folder.", param, ctx)
        return super().convert(value, param, ctx)


class NonEmptyText(click.ParamType[str]):
    """Text that is not empty, such as the name of a run."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text; refuse the empty string."""
        if value == "":
            self.fail("The value is empty.", param, ctx)
        return str(value)


@dataclass
class Invocation:
    """What the shared options of one call of the command line said, before or after the verb."""

    quiet: bool = False
    verbose: bool = False
    no_color: bool = False
    runs_dir: Path | None = None


def invocation_of(context: click.Context) -> Invocation:
    """The invocation this context belongs to; made on the spot where a command is called without `main`."""
    found = context.find_object(Invocation)
    return found if found is not None else context.find_root().ensure_object(Invocation)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if value:
        invocation = invocation_of(context)
        setattr(invocation, str(parameter.name), value)
        if invocation.quiet and invocation.verbose:
            raise click.UsageError("--quiet and --verbose exclude each other.", context)
    return value


_FLAGS = (
    click.option(
        "-q", "--quiet", is_flag=True, expose_value=False, callback=_remember, help="Warnings and errors alone."
    ),
    click.option("-v", "--verbose", is_flag=True, expose_value=False, callback=_remember, help="Say more."),
    click.option(
        "--no-color", is_flag=True, expose_value=False, callback=_remember, help="No colors; NO_COLOR does the same."
    ),
)


def console_flags(function: Function) -> Function:
    """Add --quiet, --verbose and --no-color and hand nothing over: for the group, before the verb."""
    for flag in reversed(_FLAGS):
        function = flag(function)
    return function


def console_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --quiet, --verbose and --no-color, and hand the command a `console: Console` that follows them.

    The innermost decorator of a command, so that these options end its help. Before the verb they count too.
    """

    @functools.wraps(function)
    def with_console(*args: Any, **kwargs: Any) -> Any:
        from cnncli.terminal.console import Console

        invocation = invocation_of(click.get_current_context())
        console = Console(
            quiet=invocation.quiet, verbose=invocation.verbose, color=False if invocation.no_color else None
        )
        return function(*args, console=console, **kwargs)

    return console_flags(with_console)


def _runs_dir(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path:
    from cnncli.runs.layout import runs_dir_from

    runs_dir = runs_dir_from(value)
    invocation_of(context).runs_dir = runs_dir
    return runs_dir


def runs_dir_option(function: Function) -> Function:
    """Add --runs-dir; the command gets `runs_dir: Path`, absolute: the option, else CNNCLI_RUNS, else ./runs."""
    return click.option(
        "--runs-dir",
        type=NonEmptyPath(file_okay=False),
        callback=_runs_dir,
        metavar="DIR",
        help="Folder of the runs.  [default: $CNNCLI_RUNS, else ./runs]",
    )(function)


def json_option(function: Function) -> Function:
    """Add --json; the command gets `as_json: bool` and prints with `print_json`."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else.")(function)


def example(line: str) -> str:
    """The end of a command's help, for `epilog=`: one example to copy."""
    return f"\b\nExample:\n  {line}"


def print_json(document: object) -> None:
    """Write one JSON document to stdout; what is no number becomes null, since JSON has no word for it."""
    click.echo(json.dumps(_plain(document), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    """A value as JSON knows it: tuples are lists, paths text, NaN and infinities null, NumPy's scalars Python's."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
