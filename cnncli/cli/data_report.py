"""How the facts about a folder of images are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from cnncli.dataset.fix_splits import Move
from cnncli.dataset.folder_report import FolderFacts
from cnncli.errors import printable
from cnncli.recipes.fix_splits import Fixed
from cnncli.terminal.console import Console

SHOWN = 20
"""So many groups of equal images and pairs that look alike are spelled out; `--json` has all."""


def show_facts(facts: FolderFacts, console: Console) -> None:
    """Print the facts as tables and lines on stdout: counts, images, what was left out, remarks, errors."""
    splits = list(facts.counts)
    rows = [(printable(label), *_counts_of(facts, label)) for label in facts.classes]
    total = ("all", *(f"{sum(facts.counts[split].values()):,}" for split in splits))
    console.table(("class", *splits), [*rows, total], printable(facts.path), to="stdout")
    figures = [("width", facts.width), ("height", facts.height), ("bytes", facts.size_bytes)]
    cells = [(name, f"{one.min:,}", f"{one.median:,}", f"{one.max:,}") for name, one in figures]
    console.table(("", "smallest", "median", "largest"), cells, to="stdout")
    within = facts.duplicates_within
    lines = [
        f"formats: {_listed(facts.formats)}",
        f"color modes: {_listed(facts.modes)}",
        f"unreadable: {len(facts.unreadable):,}",
        f"groups of equal files: {len(within):,} within a split, {len(facts.duplicates_across):,} across splits",
        f"pairs that look alike in different splits: {len(facts.near_duplicates):,}",
        f"left out: {_listed(facts.left_out)}",
    ]
    lines += [f"equal: {' = '.join(map(printable, group))}" for group in within[:SHOWN]]
    lines += [
        f"alike: {printable(one)} and {printable(other)} ({correlation:.0%})"
        for one, other, correlation in facts.near_duplicates[:SHOWN]
    ]
    lines += [f"warning: {warning}" for warning in facts.warnings]
    lines += [f"note: {note}" for note in facts.notes]
    lines += [f"error: {problem}" for problem in facts.problems]
    lines += [] if facts.problems else ["fine: nothing keeps this folder from being trained on"]
    click.echo("\n".join(lines))


def say_moves(moves: Sequence[Move]) -> None:
    """Say on stderr what would move, even where little is to be said: nobody should look for files in vain."""
    for move in moves:
        click.echo(f"move {printable(move.source)} to {printable(move.target)}", err=True)


def show_fixed(fixed: Fixed) -> None:
    """Print on stdout how many images were moved, or could be, and what is left in several splits."""
    lines = [f"moved: {len(fixed.moves):,}"] if fixed.moves or not fixed.planned else []
    lines += [f"to be moved: {len(fixed.planned):,}"] if fixed.planned else []
    lines += [f"left: {line}" for line in fixed.left]
    lines += [f"error: {problem}" for problem in fixed.problems]
    click.echo("\n".join(lines))


def _counts_of(facts: FolderFacts, label: str) -> list[str]:
    return [f"{counts[label]:,}" if label in counts else "–" for counts in facts.counts.values()]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items()) or "none"
