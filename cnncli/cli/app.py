"""The commands, in the order in which a new user needs them. Each is imported when it is called.

The help lists commands without importing their modules, so it appears at once; a test compares the texts. A command is
a module `cnncli.cli.<name>` with a click command named `command`.
"""

from __future__ import annotations

from importlib import import_module

import click

from cnncli.cli.options import console_flags, example
from cnncli.version import __version__

VERBS = {
    "train": "Train from a config, a folder or a table, or resume a run.",
    "finetune": "Continue a finished run and train more of its backbone.",
    "update": "Add images or classes to a finished run.",
    "evaluate": "Evaluate a run: accuracy, each class, confusions, calibration.",
    "predict": "Classify images with a run or a published network.",
    "export": "Write a run's classifier as ONNX, LiteRT, OpenVINO and others.",
    "serve": "Answer over HTTP with a run, and show a page for trying it.",
    "calibrate": "Choose which images a run answers, and which are unknown.",
    "explain": "Draw which parts of images speak for a class.",
    "show": "Show what the layers of a network respond to.",
    "embed": "Write the features of a run's images, or draw a map of them.",
    "similar": "Find the training images that resemble an image most.",
    "summary": "Print or compare the layers of configs and networks.",
    "augment": "Draw a sheet of augmented images.",
    "backbones": "List the networks that a config can name.",
    "data": "Check images, review labels, or arrange a known dataset.",
    "demo": "Show what a network computes, step by step.",
    "config": "Show or validate a config, or print the schema.",
    "init": "Write a commented config for a folder of images or a table.",
    "crossval": "Cross-validate the head of a config.",
    "learning-curve": "Predict how much more images would help.",
    "advise": "Recommend a way to train, with evidence.",
    "sweep": "Train a grid of settings and seeds, and compare the runs.",
    "lr-find": "Find a learning rate by a range test.",
    "recipes": "List, show and run published recipes.",
    "report": "Write the report of a run: one HTML file, and a model card.",
    "compare": "Compare runs: results, tests, curves, differing settings.",
    "replay": "Repeat the step in which a training became NaN or Inf.",
    "track": "Send a finished run to MLflow.",
    "runs": "List the runs with their results.",
    "extract": "Compute features into the cache, without training.",
    "cache": "Show, clear or merge caches.",
    "doctor": "Report on the installation and the machine.",
    "errors": "Explain error and warning codes.",
    "completion": "Print the completion script of a shell.",
}


class LazyGroup(click.Group):
    """Group that knows the names and short help of its commands, and imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in order."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command and return it, or None if there is no such command."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"cnncli.cli.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their short help, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=LazyGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog=example("cnncli train configs/quickstart.yaml"),
)
@click.version_option(__version__, message="cnncli %(version)s", help="Print the version.")
@console_flags
def app() -> None:
    """Transfer learning for image classification that runs frozen layers only once per image."""
