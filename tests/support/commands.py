"""Command lines in help, configs and the README: find them, and parse them as cnncli would, without running them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click

from cnncli.cli.app import app
from cnncli.cli.options import Invocation


def command_lines(text: str) -> list[list[str]]:
    """Return the words after `cnncli` of every command line in a text, one per line or joined by && and |."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [words for line in lines if re.match(r"\s*(\$ |# +)?(\S.* && )?cnncli ", line) for words in _of_line(line)]


def _of_line(line: str) -> Iterator[list[str]]:
    reader = shlex.shlex(line.lstrip("# $"), posix=True, punctuation_chars="&|>;")
    reader.whitespace_split = True
    words: list[str] = []
    called = False
    for word in [*reader, ";"]:
        if set(word) <= set("&|>;"):
            if called:
                yield words
            words, called = [], False
        elif called:
            words.append(word)
        else:
            called = word == "cnncli"


def parse(words: list[str]) -> click.Context:
    """Return the context of a command line.

    Raises:
        click.UsageError: cnncli would refuse it.
    """
    context = app.make_context("cnncli", list(words), obj=Invocation(), resilient_parsing=False)
    command: click.Command = app
    while isinstance(command, click.Group):
        words = [*context._protected_args, *context.args]
        if not words and command.invoke_without_command:
            break
        name, inner, rest = command.resolve_command(context, words)
        assert inner is not None
        command = inner
        context = command.make_context(name, rest, parent=context)
    return context
