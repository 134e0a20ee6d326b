"""`cnncli data`: look at a folder of pictures, or make one."""

from __future__ import annotations

from pathlib import Path

import click

from cnncli.cli.options import console_options, example, json_option, print_json
from cnncli.console import Console
from cnncli.errors import EXIT_USER


@click.group(epilog=example("cnncli data check data/sample"))
def command() -> None:
    """Check a folder of pictures, or arrange a known dataset."""


@command.command(epilog=example("cnncli data check data/sample --json"))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@json_option
@console_options
@click.pass_context
def check(context: click.Context, folder: Path, as_json: bool, console: Console) -> None:
    """Look at every picture of a folder.

    Counts by split and class, sizes, formats, unreadable pictures, exact duplicates, odd class sizes, and everything
    that keeps the folder from being trained on. Exit code 2 if there is anything.
    """
    from cnncli.cli.data_report import show_facts
    from cnncli.recipes.check_data import check_data

    facts = check_data(folder, console)
    if as_json:
        print_json(facts.to_dict())
    else:
        show_facts(facts, console)
    if facts.problems:
        context.exit(EXIT_USER)


@command.group(epilog=example("cnncli data prepare dogs-vs-cats dogs-vs-cats.zip --out data/dogs-vs-cats"))
def prepare() -> None:
    """Arrange a downloaded dataset into train, validation and test."""


@prepare.command(
    "dogs-vs-cats",
    short_help="Arrange Dogs vs. Cats, as Kaggle or Microsoft hands it out.",
    epilog=example("cnncli data prepare dogs-vs-cats train.zip --out data/dogs-vs-cats"),
)
@click.argument("source", metavar="ZIP|DIR", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The folder to make.")
@click.option("--train", type=click.IntRange(2), default=2000, show_default=True, help="Pictures, half of each class.")
@click.option("--validation", type=click.IntRange(0), default=1000, show_default=True, help="Pictures.")
@click.option("--test", type=click.IntRange(0), default=1000, show_default=True, help="Pictures.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the choice.")
@console_options
def dogs_vs_cats(source: Path, out: Path, train: int, validation: int, test: int, seed: int, console: Console) -> None:
    """Arrange Dogs vs. Cats, as Kaggle or Microsoft hands it out.

    ZIP or DIR holds Kaggle's cat.0.jpg and dog.0.jpg (train.zip, or dogs-vs-cats.zip around it), Microsoft's
    PetImages/Cat and PetImages/Dog, or train, validation and test already. Broken files are named and left out, and
    so are copies. Prints the folder's path.
    """
    from cnncli.recipes.prepare_data import prepare_dogs_vs_cats

    sizes = {"train": train, "validation": validation, "test": test}
    click.echo(prepare_dogs_vs_cats(source, out, sizes, seed, console).path)
