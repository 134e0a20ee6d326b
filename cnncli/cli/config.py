"""`cnncli config`: show, validate and describe configs."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from cnncli.cli.options import (
    PATH,
    console_flags,
    console_options,
    example,
    json_option,
    overrides_argument,
    print_json,
)
from cnncli.errors import ConfigError, Message, printable
from cnncli.terminal.console import Console

log = logging.getLogger(__name__)


@click.group(no_args_is_help=True, epilog=example("cnncli config show configs/quickstart.yaml training.epochs=30"))
def command() -> None:
    """Show or validate a config, or print the schema."""


@command.command(epilog=example("cnncli config show configs/quickstart.yaml training.epochs=30"))
@click.argument("config", type=PATH)
@overrides_argument
@json_option
@console_options
def show(config: Path, overrides: tuple[str, ...], as_json: bool, console: Console) -> None:
    """Print a config with every setting resolved.

    Values come from KEY=VALUE, the environment (CNNCLI_TRAINING__EPOCHS=3 is training.epochs=3), the file and the
    defaults, in this order. The output is a config, with its stages as comments. The data need not exist.
    """
    from cnncli.config.overrides import variable_notes
    from cnncli.config.reader import load_config
    from cnncli.config.writer import describe_config, settings_of

    for note in variable_notes():
        log.warning(note)
    resolved = load_config(config, overrides, check_paths=False)
    if as_json:
        print_json(settings_of(resolved))
    else:
        click.echo(describe_config(resolved), nl=False)


@command.command(epilog=example("cnncli config validate configs/*.yaml"))
@click.argument("words", metavar="CONFIG... [KEY=VALUE]...", nargs=-1, required=True)
@console_options
def validate(words: tuple[str, ...], console: Console) -> None:
    """Check configs and report all problems.

    Checks names, types, ranges and contradictions, and whether data and weights exist. KEY=VALUE overrides a setting
    of every CONFIG. Prints `CONFIG: ok` for valid configs; exits with 2 if there are problems.
    """
    from cnncli.config.notes import notes_of
    from cnncli.config.overrides import variable_notes
    from cnncli.config.reader import load_config

    overrides = [word for word in words if "=" in word and not Path(word).exists()]
    configs = [Path(word) for word in words if word not in overrides]
    if not configs:
        raise click.UsageError(Message("usage-argument-missing", "Missing argument 'CONFIG...' before KEY=VALUE."))
    for note in variable_notes():
        log.warning(note)
    problems: list[Message] = []
    for source in configs:
        try:
            notes = notes_of(load_config(source, overrides))
        except ConfigError as error:
            problems += error.problems
        else:
            click.echo(f"{printable(source)}: ok")
            for note in notes:
                log.warning(Message(note.code, f"{printable(source)}: {note}", **note.facts))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


@command.command(epilog=example("cnncli config schema > cnncli.schema.json"))
@console_flags
def schema() -> None:
    """Print the JSON Schema of configs, for editors.

    Editors with the YAML language server use it to complete, document and check a config that starts with the line
    `# yaml-language-server: $schema=cnncli.schema.json`.
    """
    from cnncli.config.schema import json_schema

    print_json(json_schema())
