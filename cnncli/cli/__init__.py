"""The command line: one module per command, which parses, calls a recipe and prints.

`main` is the one place where an exception becomes a message and an exit code:

    CnncliError, a wrong option, a full disk     2   a line per problem (3 for a missed minimum)
    Ctrl-C, SIGTERM, SIGHUP          130, 143, 129
    the reader of stdout went away             141   without a word, as programs do that SIGPIPE ends
    anything else is a bug                       1   one line; the traceback is in a log
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import click

from cnncli.errors import EXIT_BUG, EXIT_DONE, EXIT_USER, CnncliError, printable
from cnncli.runtime.machine import machine_problem
from cnncli.runtime.signals import Terminated, is_reported, raising

if TYPE_CHECKING:
    from cnncli.cli.options import Invocation

EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and give its exit code; never raises.

    Args:
        arguments: the words after `cnncli`; None: those of this process.
    """
    from cnncli.cli.options import Invocation

    invocation = Invocation()
    _make_stdout_take_any_text()
    try:
        with raising():
            code = _run(sys.argv[1:] if arguments is None else list(arguments), invocation)
            if sys.stdout is not None:
                sys.stdout.flush()
        return code
    except BrokenPipeError:
        _drop_stdout()
        return EXIT_PIPE_CLOSED
    except (KeyboardInterrupt, click.Abort) as stop:
        return _stopped(stop, EXIT_INTERRUPTED)
    except Terminated as stop:
        return _stopped(stop, stop.exit_code)
    except CnncliError as error:
        return _say_errors(error.problems, error.exit_code, invocation)
    except click.ClickException as error:
        return _say_usage(error, invocation)
    except Exception as error:
        problem = machine_problem(error)
        return _say_errors([problem], EXIT_USER, invocation) if problem else _say_bug(error, invocation)


def end(code: int) -> NoReturn:
    """End the process with an exit code, without waiting for Keras where it is still being imported."""
    backend = sys.modules.get("cnncli.networks.backend")
    if backend is not None and backend.is_importing_keras():
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def run() -> NoReturn:
    """What the command `cnncli` calls."""
    end(main())


def _run(words: list[str], invocation: Invocation) -> int:
    from cnncli.cli.app import app

    if "_CNNCLI_COMPLETE" in os.environ:
        app.main(words, prog_name="cnncli")  # the shell asks for completions; ends the process
    try:
        with app.make_context("cnncli", words, obj=invocation) as context:
            app.invoke(context)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    return EXIT_DONE


def _say(line: str) -> None:
    with suppress(OSError, ValueError):  # a closed stderr is no reason for another exit code
        click.echo(line, err=True)


def _say_errors(problems: Sequence[str], code: int, invocation: Invocation) -> int:
    colored = not (invocation.no_color or os.environ.get("NO_COLOR"))
    word = click.style("error:", fg="red", bold=True) if colored else "error:"
    for problem in problems:
        _say(f"{word} {problem}")
    return code


def _say_usage(error: click.ClickException, invocation: Invocation) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        _say(error.format_message())
        return EXIT_USER
    _say_errors([error.format_message()], EXIT_USER, invocation)
    context = error.ctx if isinstance(error, click.UsageError) else None
    _say(f"Try '{context.command_path if context else 'cnncli'} --help' for help.")
    return EXIT_USER


def _stopped(stop: BaseException, code: int) -> int:
    if not is_reported(stop):
        _say("stopped")
    return code


def _say_bug(error: Exception, invocation: Invocation) -> int:
    from cnncli.runs.layout import runs_dir_from
    from cnncli.runs.log import bug_log

    what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    try:
        log = printable(bug_log(error, invocation.runs_dir or runs_dir_from(None)))
    except (OSError, CnncliError):  # nothing can be written anywhere: then the screen is the log
        _say("".join(traceback.format_exception(error)).rstrip())
        log = "the lines above"
    return _say_errors([f"this is a bug in cnncli ({what}); its traceback is in {log}"], EXIT_BUG, invocation)


def _make_stdout_take_any_text() -> None:
    """Escape what stdout's encoding cannot hold, such as a file name of raw bytes, instead of failing on it."""
    if getattr(sys.stdout, "errors", None) == "strict" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_stdout() -> None:
    """Point stdout to nowhere, so that Python's own last flush does not complain about the closed pipe."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
