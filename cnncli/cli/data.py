"""`cnncli data`: look at a folder of images, or make one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli.cli.options import NonEmptyPath, console_options, example, json_option, print_json
from cnncli.errors import EXIT_USER, Message
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.dataset.fix_splits import Move
    from cnncli.recipes.fix_splits import Fixed


@click.group(epilog=example("cnncli data check data/sample"))
def command() -> None:
    """Check a folder of images, or arrange a known dataset."""


@command.command(epilog=example("cnncli data check data/sample --json"))
@click.argument("folder", metavar="DIR", type=NonEmptyPath())
@click.option("--fix-splits", is_flag=True, help="Move images that lie in several splits, equal or alike, together.")
@click.option("--dry-run", is_flag=True, help="With --fix-splits: show the moves and make none of them.")
@click.option("--yes", is_flag=True, help="With --fix-splits: move without asking.")
@json_option
@console_options
@click.pass_context
def check(
    context: click.Context,
    folder: Path,
    fix_splits: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    console: Console,
) -> None:
    """Look at every image of a folder.

    Counts by split and class, sizes, formats, unreadable images, exact duplicates, images that look alike in
    different splits, odd class sizes, and everything that keeps the folder from being trained on. Exit code 2 if there
    is anything.

    --fix-splits moves what lies in several splits to the first of train, validation and test in which it lies, so that
    the test split keeps nothing that was seen elsewhere. No class of a split loses more than half of its images, no
    file is overwritten, nothing behind a link is moved; what therefore stays is told. On a terminal it asks first.
    """
    from cnncli.cli.data_report import show_facts, show_fixed
    from cnncli.recipes.check_data import check_data

    if (dry_run or yes) and not fix_splits:
        raise click.UsageError(Message("usage-options-conflict", "--dry-run and --yes require --fix-splits."))
    fixed = _fix(folder, dry_run, yes, console) if fix_splits else None
    facts = check_data(folder, console)
    if as_json:
        print_json({**facts.to_dict(), **(fixed.to_dict() if fixed else {})})
    else:
        show_facts(facts, console)
        if fixed:
            show_fixed(fixed)
    if facts.problems or (fixed and fixed.problems):
        context.exit(EXIT_USER)


def _fix(folder: Path, dry_run: bool, yes: bool, console: Console) -> Fixed:
    from cnncli.cli.data_report import say_moves
    from cnncli.recipes.fix_splits import fix_splits

    def agrees(moves: Sequence[Move]) -> bool:
        say_moves(moves)
        if dry_run or yes or not sys.stdin.isatty():
            return not dry_run
        return click.confirm(f"Move these {len(moves):,} images?", err=True)

    return fix_splits(folder, console, agrees)


@command.group(epilog=example("cnncli data prepare dogs-vs-cats dogs-vs-cats.zip --out data/dogs-vs-cats"))
def prepare() -> None:
    """Arrange a downloaded dataset into train, validation and test."""


@prepare.command(
    "dogs-vs-cats",
    short_help="Arrange Dogs vs. Cats, as Kaggle or Microsoft hands it out.",
    epilog=example("cnncli data prepare dogs-vs-cats train.zip --out data/dogs-vs-cats"),
)
@click.argument("source", metavar="ZIP|DIR", type=NonEmptyPath())
@click.option("--out", required=True, type=NonEmptyPath(), metavar="DIR", help="The folder to make.")
@click.option("--train", type=click.IntRange(2), default=2000, show_default=True, help="Images, half of each class.")
@click.option("--validation", type=click.IntRange(0), default=1000, show_default=True, help="Images.")
@click.option("--test", type=click.IntRange(0), default=1000, show_default=True, help="Images.")
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
