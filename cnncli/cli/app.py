"""The verbs, in the order of a first acquaintance, each loaded when it is called.

Help lists a verb without importing its module, so it appears at once; a test holds the two texts together. A verb is
a module `cnncli.cli.<verb>` with a click command named `command`.
"""

from __future__ import annotations

import difflib
from importlib import import_module

import click

from cnncli.cli.options import console_flags, example

VERBS = {
    "train": "Train from a config or a folder of images, or go on with a run.",
    "finetune": "Continue a finished run with more of its backbone trained.",
    "evaluate": "Measure a run: loss, accuracy with its interval, each class.",
    "predict": "Classify images with a run.",
    "summary": "Print the layers of a config's classifier or of a backbone.",
    "augment": "Draw a sheet of augmented images.",
    "backbones": "List the networks that a config can name.",
    "data": "Check a folder of images, or arrange a known dataset.",
    "config": "Show, validate or describe a config.",
    "init": "Write a commented config fitted to a folder of images.",
    "runs": "List the runs with their key figures.",
    "cache": "Show or clear what is stored to be found again.",
}


class LazyGroup(click.Group):
    """A group that knows its verbs' names and short help, and imports a verb's module when the verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in their order."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb, imported now; None where there is no such verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"cnncli.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click, with the nearest verb in the error."""
        if args[0] not in VERBS and not args[0].startswith("-") and not ctx.resilient_parsing:
            nearest = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f"Did you mean {nearest[0]}?" if nearest else f"There are {', '.join(VERBS)}."
            raise click.UsageError(f"No such command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with their short help, none of them imported."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from cnncli.runtime.environment import cnncli_version

        click.echo(f"cnncli {cnncli_version()}")
        context.exit()


@click.group(
    cls=LazyGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("cnncli train configs/quickstart.yaml"),
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@console_flags
def app() -> None:
    """Transfer learning for image classification: nothing frozen is computed twice."""
