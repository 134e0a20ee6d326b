"""`cnncli data`: check a folder of images, or arrange a known dataset."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli.cli.options import NonEmptyPath, console_options, example, json_option, print_json
from cnncli.errors import EXIT_USER, Message, printable
from cnncli.terminal.console import Console

if TYPE_CHECKING:
    from cnncli.dataset.fix_splits import Move
    from cnncli.dataset.folder_report import FolderReport
    from cnncli.recipes.data_check import FixedSplits

MAX_GROUPS = 20
"""Number of groups of identical files and pairs of similar images that are listed; `--json` has all."""


@click.group(epilog=example("cnncli data check data/sample"))
def command() -> None:
    """Check a folder of images, or arrange a known dataset."""


@command.command(epilog=example("cnncli data check data/sample --json"))
@click.argument("folder", metavar="DIR", type=NonEmptyPath())
@click.option("--fix-splits", is_flag=True, help="Move identical and similar images into one split.")
@click.option("--dry-run", is_flag=True, help="With --fix-splits: show the moves without making them.")
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
    """Check every image of a folder.

    Reports counts per split and class, sizes, formats, unreadable images, identical files, similar images in different
    splits, class sizes, and everything that keeps the folder from being trained on. Exits with 2 if there is an error.

    --fix-splits moves images that are in several splits to the first of train, validation and test in which they are
    found, so that the test split keeps only images that occur nowhere else. No class of a split loses more than half of
    its images, no file is overwritten, and nothing behind a link is moved; images left in place are reported. Asks for
    confirmation on a terminal.
    """
    from cnncli.recipes.data_check import check_data

    if (dry_run or yes) and not fix_splits:
        raise click.UsageError(Message("usage-options-conflict", "--dry-run and --yes require --fix-splits."))
    fixed = _fix(folder, dry_run, yes, console) if fix_splits else None
    report = check_data(folder, console)
    if as_json:
        print_json({**report.to_dict(), **(fixed.to_dict() if fixed else {})})
    else:
        _print_report(report, console)
        if fixed:
            _print_fixed(fixed)
    if report.errors or (fixed and fixed.problems):
        context.exit(EXIT_USER)


def _fix(folder: Path, dry_run: bool, yes: bool, console: Console) -> FixedSplits:
    from cnncli.recipes.data_check import fix_splits

    def confirm(moves: Sequence[Move]) -> bool:
        for move in moves:  # despite --quiet: nobody should have to search for a file
            click.echo(f"move {printable(move.source)} to {printable(move.target)}", err=True)
        if dry_run or yes or not sys.stdin.isatty():
            return not dry_run
        return click.confirm(f"Move these {len(moves):,} images?", err=True)

    return fix_splits(folder, console, confirm)


def _print_report(report: FolderReport, console: Console) -> None:
    """Print errors first, then the facts, warnings and notes."""
    lines = [f"error: {_with_code(message)}" for message in report.errors]
    if lines:
        click.echo("\n".join(lines))
    if report.total:
        _print_counts(report, console)
    lines = [
        f"formats: {_listed(report.formats)}",
        f"color modes: {_listed(report.modes)}",
        f"unreadable: {len(report.unreadable):,}",
        f"groups of identical files: {len(report.duplicates_within):,} within a split, "
        f"{len(report.duplicates_across):,} across splits",
        f"pairs of similar images in different splits: {len(report.near_duplicates):,}",
        f"left out: {_listed(report.left_out)}",
    ]
    lines += [f"identical: {' = '.join(map(printable, group))}" for group in report.duplicates_within[:MAX_GROUPS]]
    lines += [
        f"similar: {printable(one)} and {printable(other)} ({similarity:.0%})"
        for one, other, similarity in report.near_duplicates[:MAX_GROUPS]
    ]
    lines += [f"warning: {_with_code(message)}" for message in report.warnings]
    lines += [f"note: {message}" for message in report.notes]
    lines += [] if report.errors else ["OK: no problems found"]
    click.echo("\n".join(lines))


def _print_counts(report: FolderReport, console: Console) -> None:
    rows = [(printable(label), *_counts_of(report, label)) for label in report.classes]
    total = ("all", *(f"{sum(counts.values()):,}" for counts in report.counts.values()))
    console.table(("class", *report.counts), [*rows, total], printable(report.path), to="stdout")
    spreads = [("width", report.width), ("height", report.height), ("bytes", report.size_bytes)]
    cells = [(name, f"{one.min:,}", f"{one.median:,}", f"{one.max:,}") for name, one in spreads]
    console.table(("", "smallest", "median", "largest"), cells, to="stdout")


def _print_fixed(fixed: FixedSplits) -> None:
    lines = [f"{'moved' if fixed.carried_out else 'to be moved'}: {len(fixed.moves):,}"]
    lines += [f"left: {_with_code(message)}" for message in fixed.left]
    lines += [f"error: {_with_code(message)}" for message in fixed.problems]
    click.echo("\n".join(lines))


def _with_code(message: Message) -> str:
    return f"{message} [{message.code}]" if message.code else str(message)


def _counts_of(report: FolderReport, label: str) -> list[str]:
    return [f"{counts[label]:,}" if label in counts else "–" for counts in report.counts.values()]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items()) or "none"


@command.group(epilog=example("cnncli data prepare dogs-vs-cats dogs-vs-cats.zip --out data/dogs-vs-cats"))
def prepare() -> None:
    """Arrange a downloaded dataset into train, validation and test."""


@prepare.command(
    "dogs-vs-cats",
    short_help="Arrange Dogs vs. Cats as distributed by Kaggle or Microsoft.",
    epilog=example("cnncli data prepare dogs-vs-cats train.zip --out data/dogs-vs-cats"),
)
@click.argument("source", metavar="ZIP|DIR", type=NonEmptyPath())
@click.option("--out", required=True, type=NonEmptyPath(), metavar="DIR", help="Folder to create.")
@click.option(
    "--train", type=click.IntRange(2), default=2000, show_default=True, help="Training images, half of each class."
)
@click.option("--validation", type=click.IntRange(0), default=1000, show_default=True, help="Validation images.")
@click.option("--test", type=click.IntRange(0), default=1000, show_default=True, help="Test images.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed used to select images.")
@console_options
def dogs_vs_cats(source: Path, out: Path, train: int, validation: int, test: int, seed: int, console: Console) -> None:
    """Arrange Dogs vs. Cats as distributed by Kaggle or Microsoft.

    ZIP or DIR holds Kaggle's cat.0.jpg and dog.0.jpg (train.zip, or dogs-vs-cats.zip around it), Microsoft's
    PetImages/Cat and PetImages/Dog, or train, validation and test folders. Broken files and copies are left out and
    reported. Prints the path of the folder.
    """
    from cnncli.recipes.data_prepare import prepare_dogs_vs_cats

    sizes = {"train": train, "validation": validation, "test": test}
    click.echo(prepare_dogs_vs_cats(source, out, sizes, seed, console).path)
