"""Write the man pages of all commands, from the help texts.

The wheel has them in `share/man/man1` (scripts/build_hook.py), where `man cnncli-train` finds them after the
installation. To write them anywhere:

    python -m scripts.write_man FOLDER/man1
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click

from cnncli.cli.app import VERBS, app
from cnncli.version import __version__


def contexts(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[click.Context]:
    """Yield the context of a command and of all its subcommands."""
    context = click.Context(command, parent, name, terminal_width=78, **app.context_settings)
    yield context
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            if found := command.get_command(context, inner):
                yield from contexts(found, inner, context)


def man_page(context: click.Context) -> str:
    """Return the man page of a command, as roff with the macros of man(7)."""
    command, path = context.command, context.command_path
    paragraphs = cleandoc(command.help or "").split("\n\n")
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [
        f'.TH "{page_name(context).upper()}" "1" "" "cnncli {__version__}" "cnncli manual"',
        ".SH NAME",
        f"{page_name(context)} \\- {_text(_first(paragraphs[0]))}",
        ".SH SYNOPSIS",
        f"\\fB{_text(path)}\\fR {_text(usage)}",
        ".SH DESCRIPTION",
        *_paragraphs(paragraphs),
    ]
    if isinstance(command, click.Group):
        parts += [".SH COMMANDS", *_commands(context, command)]
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    parts += [".SH OPTIONS", *(line for record in records if record and record[1] for line in _item(*record))]
    if command.epilog:
        _, _, example = command.epilog.partition("Example:\n")
        parts += [".SH EXAMPLES", ".EX", _text(cleandoc(example)), ".EE"]
    if above := context.parent:
        parts += [".SH SEE ALSO", f"\\fB{page_name(above)}\\fR(1)"]
    return "\n".join(parts) + "\n"


def page_name(context: click.Context) -> str:
    """Return the name of the page of a command, as git does: cnncli-config-show."""
    return context.command_path.replace(" ", "-")


def _commands(context: click.Context, group: click.Group) -> Iterator[str]:
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        about = VERBS[name] if group is app else found.get_short_help_str(200) if found else ""
        yield from _item(f"{page_name(context)}-{name}(1)", about)


def _item(term: str, text: str) -> Iterator[str]:
    yield from (".TP", f"\\fB{_text(term)}\\fR", _text(text))


def _paragraphs(paragraphs: list[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        yield from (
            [".EX", _text(paragraph[1:].strip("\n")), ".EE"] if paragraph[0] == "\b" else [".PP", _text(paragraph)]
        )


def _first(text: str) -> str:
    return " ".join(text.split()).removesuffix(".")


def _text(text: str) -> str:
    r"""Escape what roff interprets: backslashes, hyphens, and dots and quotes at the start of a line."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in escaped.splitlines())


def write(folder: Path) -> None:
    """Write the page of each command to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for context in contexts(app, "cnncli"):
        (folder / f"{page_name(context)}.1").write_text(man_page(context), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m scripts.write_man FOLDER/man1")
    write(Path(sys.argv[1]))
