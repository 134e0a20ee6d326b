"""`cnncli completion`: print the completion script of a shell."""

from __future__ import annotations

import click

from cnncli.cli.options import console_flags, example

VARIABLE = "_CNNCLI_COMPLETE"
"""Variable with which a shell requests completions."""


@click.command(epilog=example("cnncli completion bash > ~/.local/share/bash-completion/completions/cnncli"))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@console_flags
def command(shell: str) -> None:
    """Print the completion script of a shell.

    With it, SHELL completes commands, options, runs and files. bash reads it from
    ~/.local/share/bash-completion/completions/cnncli, zsh from a file _cnncli in a folder of $fpath, and fish from
    ~/.config/fish/completions/cnncli.fish.
    """
    from click.shell_completion import get_completion_class

    from cnncli.cli.app import app

    kind = get_completion_class(shell)
    if kind is None:
        raise ValueError(f"click has no completion for {shell}")
    click.echo((kind.source_template % kind(app, {}, "cnncli", VARIABLE).source_vars()).strip())
