"""`cnncli summary`: layers, shapes and parameters."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.cli.options import console_options, example, json_option, overrides_argument, print_json
from cnncli.errors import Message
from cnncli.terminal.console import Console


@click.command(epilog=example("cnncli summary ResNet50"))
@click.argument("source", metavar="CONFIG|BACKBONE")
@overrides_argument
@json_option
@console_options
def command(source: str, overrides: tuple[str, ...], as_json: bool, console: Console) -> None:
    """Print the layers of a config's classifier or of a backbone.

    For a config, the last column shows which layers the last stage trains. The names of layers can be used in
    training.unfreeze and backbone.output_layer.
    """
    from cnncli.recipes.summary import summarize_backbone, summarize_config

    if Path(source).suffix in (".yaml", ".yml") or Path(source).exists():
        from cnncli.config.reader import load_config

        summary = summarize_config(load_config(Path(source), overrides))
    elif overrides:
        text = "KEY=VALUE changes a setting of a config, but a backbone has no settings."
        raise click.UsageError(Message("usage-options-conflict", text))
    else:
        summary = summarize_backbone(source)
    if as_json:
        print_json(vars(summary))
        return
    console.table(
        ("layer", "type", "output", "parameters", "trainable"),
        [
            (
                line.name,
                line.type,
                "×".join(map(str, line.output_shape)),
                f"{line.parameters:,}",
                "" if not line.parameters else "yes" if line.trainable else "no",
            )
            for line in summary.layers
        ],
    )
    click.echo(
        f"parameters {summary.parameters:,}: trainable {summary.trainable_parameters:,}, "
        f"frozen {summary.frozen_parameters:,}"
    )
