"""`cnncli data`: check a folder of images, review the labels of a run, or arrange a known dataset."""

from __future__ import annotations

import logging
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncli.catalogue.datasets import DATASETS, DatasetInfo
from cnncli.cli.options import (
    PATH,
    console_options,
    example,
    json_option,
    overrides_argument,
    print_json,
    run_argument,
    runs_dir_option,
)
from cnncli.errors import EXIT_USER, Message, printable
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import counted, short_path

if TYPE_CHECKING:
    from cnncli.dataset.fix_splits import Move
    from cnncli.dataset.issues import Issue
    from cnncli.recipes.data_review import Review, Split

log = logging.getLogger(__name__)

MAX_GROUPS = 20
"""Maximum number of groups of identical files and pairs of similar images to list; `--json` lists all."""


@click.group(epilog=example("cnncli data check data/sample"))
def command() -> None:
    """Check images, review labels, or arrange a known dataset."""


@command.command(epilog=example("cnncli data check data/sample --json"))
@click.argument("source", metavar="DIR|TABLE", type=PATH)
@overrides_argument
@click.option("--fix-splits", is_flag=True, help="Move identical and similar images into one split.")
@click.option("--dry-run", is_flag=True, help="With --fix-splits: show the moves without making them.")
@click.option("--yes", is_flag=True, help="With --fix-splits: move without asking.")
@json_option
@console_options
@click.pass_context
def check(
    context: click.Context,
    source: Path,
    overrides: tuple[str, ...],
    fix_splits: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    console: Console,
) -> None:
    """Check every image of a folder or of a table.

    TABLE is a .csv, .tsv or .parquet file with a row per image, whose images are below its folder. Settings of data can
    be given as KEY=VALUE, e.g. data.labels.image=NAME.

    Reports counts per split and class, sizes, formats, unreadable images, identical files, similar images in different
    splits, class sizes, and all problems that prevent training. Exits with 2 if there is an error.

    --fix-splits moves images that are in several splits to the first of train, validation and test that contains them,
    so that the test split keeps only images that are in no other split. No class of a split loses more than half of
    its images, no file is overwritten, and nothing behind a link is moved; images left in place are reported. Asks for
    confirmation on a terminal.
    """
    from cnncli.config.reader import config_from_mapping, data_source
    from cnncli.dataset.build import report_on_data
    from cnncli.dataset.fix_splits import carry_out, plan_moves

    if (dry_run or yes) and not fix_splits:
        raise click.UsageError(Message("usage-options-conflict", "--dry-run and --yes require --fix-splits."))
    moves, left = plan_moves(source, console) if fix_splits else ((), ())
    is_moved = not moves or _confirm(moves, dry_run, yes)
    problems = carry_out(moves) if is_moved else []
    settings = config_from_mapping({"data": data_source(source)}, overrides, environment={}, check_paths=False)
    report, issues = report_on_data(settings.data, console)
    if as_json:
        fixed = {
            "moves": [{"from": str(move.source), "to": str(move.target), "moved": is_moved} for move in moves],
            "moved": is_moved,
            "left": list(map(str, left)),
            "not_moved": list(map(str, problems)),
        }
        print_json({**report, **(fixed if fix_splits else {})})
    else:
        _print_report(report, issues, console)
        if fix_splits:
            click.echo(f"{'moved' if is_moved else 'to be moved'}: {len(moves):,}")
        _print_messages("left", left)
        _print_messages("error", problems)
    if problems or not report["ok"]:
        context.exit(EXIT_USER)


def _confirm(moves: Sequence[Move], dry_run: bool, yes: bool) -> bool:
    """Show the moves, even with --quiet, and return whether they are confirmed."""
    for move in moves:
        click.echo(f"move {printable(move.source)} to {printable(move.target)}", err=True)
    if dry_run or yes or not sys.stdin.isatty():
        return not dry_run
    return click.confirm(f"Images to move: {len(moves):,}. Move them?", err=True)


def _print_report(document: Mapping[str, Any], issues: Sequence[Issue], console: Console) -> None:
    """Print errors first, then the facts, warnings and notes; without any image, only why there is none."""
    from cnncli.dataset.issues import messages_of

    _print_messages("error", messages_of(issues, "error"))
    if not (document["ok"] or document["total"] or document["unreadable"]):
        if document["left_out"]:
            click.echo(f"left out: {_listed(document['left_out'])}")
        _print_messages("warning", messages_of(issues, "warning"))
        return
    if document["total"]:
        _print_tables(document, console)
    within, across = document["duplicates_within"], document["duplicates_across"]
    click.echo(f"formats: {_listed(document['formats'])}")
    click.echo(f"color modes: {_listed(document['modes'])}")
    click.echo(f"unreadable: {len(document['unreadable']):,}")
    click.echo(f"groups of identical files: {len(within):,} within a split, {len(across):,} across splits")
    click.echo(f"pairs of similar images in different splits: {len(document['near_duplicates']):,}")
    click.echo(f"left out: {_listed(document['left_out'])}")
    for group in within[:MAX_GROUPS]:
        click.echo(f"identical: {' = '.join(map(printable, group))}")
    for pair in document["near_duplicates"][:MAX_GROUPS]:
        files = (f"{printable(file)} ({split})" for file, split in zip(pair["paths"], pair["splits"], strict=True))
        click.echo(f"similar: {' and '.join(files)}, {pair['correlation']:.0%}")
    warnings = messages_of(issues, "warning")
    _print_messages("warning", warnings)
    for message in messages_of(issues, "note"):
        click.echo(f"note: {message}")
    if document["ok"]:
        click.echo(f"OK: no errors, {counted(len(warnings), 'warning')}" if warnings else "OK: no problems found")


def _print_tables(document: Mapping[str, Any], console: Console) -> None:
    """Print the number of images per class and split, and the ranges of their sizes."""
    splits = document["counts"]
    rows = [
        (label, *(f"{n[label]:,}" if label in n else "–" for n in splits.values())) for label in document["classes"]
    ]
    total = ("images" if document["multi_label"] else "all", *(f"{document['images'][split]:,}" for split in splits))
    console.print(document["table"] or document["path"])
    console.table(("label" if document["multi_label"] else "class", *splits), [*rows, total])
    spreads = {"width": document["width"], "height": document["height"], "bytes": document["size_bytes"]}
    cells = [(name, *(f"{value:,}" for value in spread.values())) for name, spread in spreads.items()]
    console.table(("", "smallest", "median", "largest"), cells)


def _print_messages(word: str, messages: Sequence[Message]) -> None:
    for message in messages:
        click.echo(f"{word}: {message} [{message.code}]")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items()) or "none"


@command.command(epilog=example("cnncli data review quickstart --open"))
@run_argument
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    default="train",
    help="Images to review; those of other splits are compared with the training images.",
)
@click.option(
    "--top", type=click.IntRange(1), metavar="N", help="Number of labels to print.  [default: 20; --json: all]"
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Folder of the results.  [default: review in the run]")  # fmt: skip
@click.option("--open", "is_open", is_flag=True, help="Confirm or correct the labels on a page in the browser.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, metavar="PORT",
    help="Port of the page on this machine; 0: any.")  # fmt: skip
@runs_dir_option
@json_option
@console_options
def review(
    run: str | None,
    split: Split,
    top: int | None,
    out: Path | None,
    is_open: bool,
    port: int,
    runs_dir: Path,
    as_json: bool,
    console: Console,
) -> None:
    """Find labels that are probably wrong, and images of bad quality.

    RUN is a run directory or its name; default: the newest finished run. Each image is classified by linear heads on
    the run's cached features that were solved without it, and confident learning compares the result with its label.
    The score is 0-1; above 0.5 another label is more probable.

    Writes labels.csv (all images, the most suspicious first), quality.csv (dark, bright, blurry and duplicate images,
    odd sizes and shapes) and suspects.png. The page of --open writes corrections.csv, a table for data.labels; images
    are not moved.
    """
    from cnncli.cli.render import open_named_run
    from cnncli.recipes.data_review import review as review_labels

    if as_json and is_open:
        raise click.UsageError(Message("usage-options-conflict", "--json and --open cannot be used together."))
    found = review_labels(open_named_run(run, runs_dir), console, split, out)
    if as_json:
        print_json(found.labels[:top])
        return
    _print_review(found, top or MAX_GROUPS, console)
    _log_next_steps(found, None if is_open else _page_command(found, split))
    if is_open:
        _serve(found, port)


def _print_review(found: Review, top: int, console: Console) -> None:
    """Print the most suspicious labels, and the number of images with each problem."""
    rows = [one.to_dict() for one in found.suspects[:top]]
    cells = [
        (f"{row['score']:.3f}", "yes" if row["flagged"] else "", row["label"], row["suggested"], row["path"])
        for row in rows
    ]
    if cells:
        console.table(("score", "flagged", "label", "suggested", "path"), cells)
    before = f"confirmed before {len(found.confirmed):,}, " if found.confirmed else ""
    counts = f"{before}another label more probable {len(found.suspects):,}, flagged {found.n_flagged:,}"
    console.print(f"labels: {found.n_reviewed:,} reviewed, {counts}")
    console.print(f"image quality: {_listed(found.problems)}")


def _log_next_steps(found: Review, command: str | None) -> None:
    """Report where the results are, and the command that opens the page of the review, if given."""
    from cnncli.recipes.data_review import SHEET

    if found.n_flagged:
        log.info("flagged: confident learning counts the label as wrong. Look first at the highest scores.")
    if found.suspects:
        sheet = shlex.quote(str(short_path(found.folder / SHEET)))
        log.info(printable(f"sheet {sheet}" + (f"; to correct labels on a page: {command}" if command else "")))
    log.info(f"results {printable(found.folder)}")


def _page_command(found: Review, split: Split) -> str:
    """Return the command that opens the page of a review."""
    words = ["cnncli", "data", "review", str(short_path(found.run.path))]
    words += ["--split", split] if split != "train" else []
    words += ["--out", str(short_path(found.folder))] if found.folder != found.run.review else []
    return shlex.join([*words, "--open"])


def _serve(found: Review, port: int) -> None:
    """Serve the page until the person is done or presses Ctrl-C, and print how to train with the corrections."""
    import webbrowser
    from contextlib import suppress

    from cnncli.recipes.data_review import command_with, serve_review

    with serve_review(found, port) as server, suppress(KeyboardInterrupt):
        click.echo(server.address)
        log.info("Review the labels in the browser; Done on the page or Ctrl-C ends the review.")
        webbrowser.open(server.address)
        server.serve_forever()
    counts = found.corrections.counts()
    click.echo(", ".join(f"{name} {n:,}" for name, n in counts.items()))
    if any(counts.values()) and (command := command_with(found)):
        click.echo(command)
    elif counts["excluded"]:
        log.info("All images are left out, so there is nothing to train with.")


class Amount(click.ParamType[float]):
    """A fraction below 1, or a number of images."""

    name = "amount"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        """Return the amount as a number; numbers of images are whole."""
        try:
            amount = float(value)
        except ValueError:
            amount = -1.0
        if not 0 <= amount < math.inf or (amount >= 1 and amount % 1):
            self.fail(f"{value!r}: expected a fraction from 0 to 1, or a number of images", parameter, context)
        return amount


@command.group(epilog=example("cnncli data prepare fashion-mnist --out data/fashion-mnist"))
def prepare() -> None:
    """Arrange a published dataset into train, validation and test."""


def _prepare_command(info: DatasetInfo) -> click.Command:
    """Return the command that arranges a dataset of the catalogue."""

    @click.command(
        info.name,
        help=f"""Arrange {info.title}: {info.summary}.

        SOURCE contains {info.forms}. Without SOURCE, the files are downloaded to Keras's folder (~/.keras/datasets).
        Writes a folder for each published split with a folder for each class. Damaged files, and copies of test images
        in train, are left out and reported. Prints the path of the folder.""",
        short_help=f"Arrange {info.title}.",
        epilog=example(f"cnncli data prepare {info.name} --out data/{info.name}"),
    )
    @click.argument("source", metavar="[SOURCE]", type=PATH, required=False)
    @click.option("--out", required=True, type=PATH, metavar="DIR", help="Folder to create.")
    @click.option(
        "--validation",
        type=Amount(),
        metavar="FRACTION|N",
        default="0",
        help="Fraction or number of training images to draw for validation; 0: train draws its own.",
    )
    @click.option("--limit", type=click.IntRange(1), metavar="N", help="Maximum images of each class and split.")
    @click.option("--seed", type=click.IntRange(0), default=0, help="Random seed used to draw images.")
    @console_options
    def prepare_known(
        source: Path | None, out: Path, validation: float, limit: int | None, seed: int, console: Console
    ) -> None:
        from cnncli.recipes.data_prepare import prepare_dataset

        prepare_dataset(info.name, source, out, console, validation, limit, seed)
        click.echo(out)

    return prepare_known


for _info in DATASETS.values():
    if _info.name != "dogs-vs-cats":  # it has options of its own
        prepare.add_command(_prepare_command(_info))


@prepare.command(
    "dogs-vs-cats",
    short_help="Arrange Dogs vs. Cats as distributed by Kaggle or Microsoft.",
    epilog=example("cnncli data prepare dogs-vs-cats train.zip --out data/dogs-vs-cats"),
)
@click.argument("source", metavar="[ZIP|DIR]", type=PATH, required=False)
@click.option("--out", required=True, type=PATH, metavar="DIR", help="Folder to create.")
@click.option("--train", type=click.IntRange(2), default=2000, help="Training images, half of each class.")
@click.option("--validation", type=click.IntRange(0), default=1000, help="Validation images.")
@click.option("--test", type=click.IntRange(0), default=1000, help="Test images.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Random seed used to select images.")
@console_options
def dogs_vs_cats(
    source: Path | None, out: Path, train: int, validation: int, test: int, seed: int, console: Console
) -> None:
    """Arrange Dogs vs. Cats as distributed by Kaggle or Microsoft.

    ZIP or DIR contains Kaggle's cat.0.jpg and dog.0.jpg (train.zip, or dogs-vs-cats.zip around it), Microsoft's
    PetImages/Cat and PetImages/Dog, or train, validation and test folders; without it, Microsoft's zip is downloaded to
    Keras's folder (~/.keras/datasets). Damaged files and copies are left out and reported. Prints the path of the
    folder.
    """
    from cnncli.recipes.data_prepare import prepare_dogs_vs_cats

    sizes = {"train": train, "validation": validation, "test": test}
    prepare_dogs_vs_cats(source, out, sizes, seed, console)
    click.echo(out)
