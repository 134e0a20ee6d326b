"""Options that several commands share, and how results are printed."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from cnncli.errors import Message

Function = TypeVar("Function", bound=Callable[..., Any])


class NonEmptyPath(click.Path):
    """A path that is not empty: an unset shell variable must not stand for the current folder."""

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, file_okay=file_okay, dir_okay=dir_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert as click does, but refuse the empty string."""
        if value == "":
            raise _empty("The path is empty; write . for the current folder.", param, ctx)
        return super().convert(value, param, ctx)


class NonEmptyText(click.ParamType[str]):
    """Text that is not empty, such as the name of a run."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text; refuse the empty string."""
        if value == "":
            raise _empty("The value is empty.", param, ctx)
        return str(value)


def _empty(text: str, param: click.Parameter | None, ctx: click.Context | None) -> click.BadParameter:
    key = param.name if param else None
    return click.BadParameter(Message("usage-empty", text, key=key, received=""), ctx=ctx, param=param)


@dataclass
class Invocation:
    """Values of the shared options of one command line, given before or after the command."""

    quiet: bool = False
    verbose: bool = False
    no_color: bool = False
    runs_dir: Path | None = None


def invocation_of(context: click.Context) -> Invocation:
    """Return the invocation of a context, which is created if the command was called without `main`."""
    found = context.find_object(Invocation)
    return found if found is not None else context.find_root().ensure_object(Invocation)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if value:
        invocation = invocation_of(context)
        setattr(invocation, str(parameter.name), value)
        if invocation.quiet and invocation.verbose:
            raise click.UsageError(
                Message("usage-options-conflict", "--quiet and --verbose cannot be used together."), context
            )
    return value


_FLAGS = (
    click.option(
        "-q", "--quiet", is_flag=True, expose_value=False, callback=_remember, help="Only show warnings and errors."
    ),
    click.option("-v", "--verbose", is_flag=True, expose_value=False, callback=_remember, help="Show debug output."),
    click.option(
        "--no-color",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help="Do not use colors; NO_COLOR does the same.",
    ),
)


def console_flags(function: Function) -> Function:
    """Add --quiet, --verbose and --no-color to a group, which passes them on to its commands."""
    for flag in reversed(_FLAGS):
        function = flag(function)
    return function


def console_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --quiet, --verbose and --no-color, and pass the command a `console: Console` that obeys them.

    This is the innermost decorator of a command, so that these options end its help. They may also stand before the
    command.
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
    from cnncli.runs.folder import runs_dir_from

    invocation = invocation_of(context)
    if value is not None or invocation.runs_dir is None:  # `cnncli runs --runs-dir DIR prune RUN` sets it before
        invocation.runs_dir = runs_dir_from(value)
    return invocation.runs_dir


def runs_dir_option(function: Function) -> Function:
    """Add --runs-dir, and pass the command an absolute `runs_dir: Path`."""
    return click.option(
        "--runs-dir",
        type=NonEmptyPath(file_okay=False),
        callback=_runs_dir,
        metavar="DIR",
        help="Directory of the runs.  [default: $CNNCLI_RUNS, else ./runs]",
    )(function)


def json_option(function: Function) -> Function:
    """Add --json, and pass the command `as_json: bool`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def example(line: str) -> str:
    """Return the end of a command's help, for `epilog=`: an example to copy."""
    return f"\b\nExample:\n  {line}"


def print_json(document: object) -> None:
    """Print one JSON document. NaN and Inf, which JSON lacks, become null."""
    click.echo(json.dumps(_plain(document), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    """Convert a value to what JSON has: objects, lists, text, numbers and null. A message has its code and its text."""
    if isinstance(value, Message) and value.code:
        return {"code": value.code, "message": str(value)}
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
