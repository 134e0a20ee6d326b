"""The command line: one module per command, which parses, calls a recipe and prints.

`main` is the only place that converts exceptions to messages and exit codes:

    CnncliError, a wrong option, a full disk     2   one line per problem (3 for a missed minimum)
    Ctrl-C, SIGTERM                      130, 143
    stdout was closed (SIGPIPE)                141   no message
    anything else is a bug                       1   one line; the traceback is in a log
"""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NoReturn

import click

from cnncli.cli.options import Invocation
from cnncli.errors import EXIT_BUG, EXIT_DONE, EXIT_USER, CnncliError, Message, printable
from cnncli.runtime.machine import machine_problem
from cnncli.runtime.signals import Terminated, is_reported, raising
from cnncli.terminal.suggestions import did_you_mean

EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the words after `cnncli`, by default those of this process, and return the exit code. Never raises."""
    invocation = Invocation()
    _escape_what_stdout_cannot_encode()
    try:
        with raising():
            code = _run(sys.argv[1:] if arguments is None else list(arguments), invocation)
            if sys.stdout is not None:
                sys.stdout.flush()
        return code
    except BrokenPipeError:
        _drop_stdout()
        return EXIT_PIPE_CLOSED
    except (KeyboardInterrupt, click.Abort, Terminated) as stop:
        if not is_reported(stop):
            _write("Interrupted.")
        return stop.exit_code if isinstance(stop, Terminated) else EXIT_INTERRUPTED
    except CnncliError as error:
        return _show_errors(error.problems, error.exit_code, invocation)
    except click.UsageError as error:
        return _show_usage_error(error, invocation)
    except Exception as error:
        problem = machine_problem(error)
        return _show_errors([problem], EXIT_USER, invocation) if problem else _show_bug(error, invocation)


def end(code: int) -> NoReturn:
    """End the process with an exit code, without waiting for a background import of Keras."""
    backend = sys.modules.get("cnncli.networks.backend")
    if backend is not None and backend.is_importing_keras():
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
    gc.freeze()  # at its end, Python would search all objects for garbage, which takes 0.2 s
    sys.exit(code)


def run() -> NoReturn:
    """Run the command line of this process, as the entry point `cnncli`."""
    # Pydantic would look for plug-ins in every installed package, which takes 0.05 s.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    end(main())


def _run(words: list[str], invocation: Invocation) -> int:
    from cnncli.cli.app import app

    if "_CNNCLI_COMPLETE" in os.environ:
        app.main(words, prog_name="cnncli")  # the shell requests completions; ends the process
    _refuse_empty(words)
    try:
        with app.make_context("cnncli", words, obj=invocation) as context:
            app.invoke(context)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    return EXIT_DONE


def _refuse_empty(words: Sequence[str]) -> None:
    """Refuse empty arguments and values, because an unset shell variable must not stand for the current folder."""
    for previous, word in pairwise(["cnncli", *words]):
        if not word or word.find("=") == len(word) - 1:
            text = f"The value after {word or previous} is empty; was a shell variable not set?"
            raise click.UsageError(Message("usage-empty", text, received=""))


def _write(text: str) -> None:
    with suppress(OSError, ValueError):  # a closed stderr must not change the exit code
        click.echo(text, err=True)


def _show_errors(problems: Sequence[str], code: int, invocation: Invocation) -> int:
    console = invocation.console()
    for problem in problems:
        console.show(logging.ERROR, problem)
    return code


def _show_usage_error(error: click.UsageError, invocation: Invocation) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        _write(error.format_message())
        return EXIT_USER
    _show_errors([_usage_message(error)], EXIT_USER, invocation)
    _write(f"Try '{error.ctx.command_path if error.ctx else 'cnncli'} --help' for help.")
    return EXIT_USER


def _usage_message(error: click.UsageError) -> Message:
    """Return the message of click's error, or the message it was raised with, which has a code."""
    text, context = error.format_message(), error.ctx
    if isinstance(text, Message):
        return text
    text = re.sub(r"\s*\n\s*", " ", text)  # click lists the choices of an argument in lines of their own
    if isinstance(error, click.NoSuchOption) and context is not None:
        options = [option for parameter in context.command.get_params(context) for option in parameter.opts]
        settings = "Settings are written as KEY=VALUE." if "overrides" in options else ""
        hint = did_you_mean(error.option_name, options) or settings
        return Message("usage-option-unknown", f"{error.message} {hint}".rstrip())
    if isinstance(error, click.exceptions.NoSuchCommand) and context is not None:
        names = context.command.list_commands(context) if isinstance(context.command, click.Group) else []
        hint = did_you_mean(error.command_name, names) or f"Commands: {', '.join(names)}."
        return Message("usage-command-unknown", f"{error.message} {hint}")
    if isinstance(error, click.MissingParameter):
        return Message("usage-argument-missing", text)
    if isinstance(error, click.BadParameter):
        return Message("usage-value-invalid", text)
    return Message("usage-invalid", text)


def _show_bug(error: Exception, invocation: Invocation) -> int:
    from cnncli.runs.folder import runs_dir_from
    from cnncli.runs.log import bug_log

    summary = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    try:
        log = printable(bug_log(error, invocation.runs_dir or runs_dir_from(None)))
    except (OSError, CnncliError):  # no log can be written, so stderr is the log
        _write("".join(traceback.format_exception(error)).rstrip())
        log = "the lines above"
    return _show_errors([f"This is a bug in cnncli ({summary}). The traceback is in {log}"], EXIT_BUG, invocation)


def _escape_what_stdout_cannot_encode() -> None:
    """Escape characters that stdout's encoding lacks, such as raw bytes of a file name."""
    if getattr(sys.stdout, "errors", None) == "strict" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_stdout() -> None:
    """Redirect stdout to the null device, so that Python's final flush does not fail on the closed pipe."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
