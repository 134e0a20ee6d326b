"""`cnncli errors`: explain the codes of errors and warnings."""

from __future__ import annotations

import click

from cnncli.cli.options import console_options, example, json_option, print_json
from cnncli.errors import Message
from cnncli.terminal.console import Console
from cnncli.terminal.suggestions import did_you_mean


@click.command(epilog=example("cnncli errors machine-disk-full"))
@click.argument("code", required=False)
@json_option
@console_options
def command(code: str | None, as_json: bool, console: Console) -> None:
    """Explain error and warning codes.

    Every error and warning ends with its code in brackets. With CODE, print its cause and remedy; without CODE, list
    all codes.
    """
    from cnncli.catalogue.explanations import load_explanations

    explanations = load_explanations()
    found = list(explanations.values()) if code is None else explanations.get(code.strip("[]"))
    if found is None:
        hint = did_you_mean(str(code), explanations) or "`cnncli errors` lists all codes."
        raise click.UsageError(Message("usage-code-unknown", f"No such code {code!r}. {hint}"))
    if as_json:
        print_json(found)
    elif isinstance(found, list):
        console.table(("code", "cause"), [(one.code, one.cause) for one in found])
    else:
        click.echo(f"{found.code}\n\nCause: {found.cause}\nRemedy: {found.remedy}")
