"""`cnncli init`: from a folder of images to a commented config."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from cnncli.config.paths import absolute
from cnncli.config.template import DatasetFacts, template_for
from cnncli.dataset.folder_report import FolderReport
from cnncli.errors import CnncliError, DataError, Message, printable
from cnncli.recipes.data_check import check_data
from cnncli.storage.atomic import write_atomically
from cnncli.terminal.console import Console

log = logging.getLogger(__name__)

GRAYSCALE_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
"""Pillow's modes without color."""
MAX_LINES = 10


def write_config(folder: Path, out: Path, force: bool, console: Console) -> Path:
    """Write a config that fits a folder of images.

    Args:
        folder: the images.
        out: file to write.
        force: replace an existing file.
        console: shows progress.

    Returns:
        The file.

    Raises:
        DataError: the folder has fewer than two classes of readable images.
        CnncliError: `out` exists already, or its parent directory does not.
    """
    _check_target(out, force)
    report = check_data(absolute(str(folder), Path.cwd()), console)
    if sum(1 for n in _readable_by_class(report).values() if n) < 2:
        raise DataError(report.errors)
    messages = (*report.errors, *report.warnings)
    for message in messages[:MAX_LINES]:
        log.warning(message)
    for note in report.notes:
        log.info(note)
    if (more := len(messages) - MAX_LINES) > 0:
        text = f"{more:,} more problems: see `cnncli data check {printable(folder)}`"
        log.warning(Message("data-more-problems", text, n=more))
    write_atomically(out, template_for(_facts_for(report, folder, out), str(out)))
    return out


def _check_target(out: Path, force: bool) -> None:
    if not out.parent.is_dir():
        text = f"{printable(out.parent)}: no such folder to write {printable(out.name)} into"
        raise CnncliError(Message("usage-out-folder-missing", text, path=out.parent))
    if out.is_dir():
        text = f"{printable(out)}: is a folder; --out expects a file"
        raise CnncliError(Message("usage-out-is-a-folder", text, path=out))
    if out.exists() and not force:
        text = f"{printable(out)}: exists already; replace it with --force, or name another file with --out"
        raise CnncliError(Message("usage-out-exists", text, path=out))


def _readable_by_class(facts: FolderReport) -> dict[str, int]:
    return {label: sum(counts.get(label, 0) for counts in facts.counts.values()) for label in facts.classes}


def _facts_for(facts: FolderReport, folder: Path, out: Path) -> DatasetFacts:
    return DatasetFacts(
        path=_path_from(facts.path, out.parent) if not folder.is_absolute() else str(facts.path),
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", facts.path.name).strip("-._")[:80] or "images",
        counts={split: counts for split, counts in facts.counts.items() if counts},
        smallest=(facts.width.min, facts.height.min),
        middle=(facts.width.median, facts.height.median),
        largest=(facts.width.max, facts.height.max),
        is_grayscale=set(facts.modes) <= GRAYSCALE_MODES,
        n_unreadable=len(facts.unreadable),
        n_leaks=len(facts.duplicates_across),
    )


def _path_from(folder: Path, start: Path) -> str:
    """Return a folder relative to another; absolute if that is impossible, as between drives."""
    try:
        relative = os.path.relpath(folder.resolve(), start.resolve())
    except ValueError:
        return str(folder)
    return f"./{relative}" if relative.startswith("~") else relative
