"""Write the approved wording, `tests/approved/messages.txt`: run `python -m tests.support.approve` and read the diff.

The file holds the texts of all messages by code and the help of all commands. A test compares it with the source, so a
change of wording is visible in one place and changes no other test.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import click

from cnncli.cli.app import app
from tests.support.messages import message_sites

APPROVED = Path(__file__).parents[1] / "approved" / "messages.txt"


def wording() -> str:
    """Return the texts of all messages by code, then the help of all commands."""
    lines = ["# Approved by `python -m tests.support.approve`. Do not edit.", ""]
    for code, sites in groupby(message_sites(), key=lambda site: site.code):
        lines += [code, *sorted({f"    {site.template}" for site in sites if site.template})]
    for path, text in help_texts(app, "cnncli"):
        lines += ["", f"$ {path} --help", *(f"    {line}".rstrip() for line in text.splitlines())]
    return "\n".join(lines) + "\n"


def help_texts(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """Yield the command line and the help, 80 columns wide, of a command and of the commands below it."""
    names = ["-h", "--help"]  # given to the context at once: a command remembers its help option
    context = click.Context(
        command, parent=parent, info_name=name, terminal_width=80, max_content_width=80, help_option_names=names
    )
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from help_texts(found, inner, context)


if __name__ == "__main__":
    APPROVED.parent.mkdir(exist_ok=True)
    APPROVED.write_text(wording(), encoding="utf-8")
