"""`cnncli init`: from a folder of images to a commented config."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cnncli.config.paths import absolute
from cnncli.config.template import DatasetFacts, template_for
from cnncli.dataset.folder_report import FolderFacts
from cnncli.errors import CnncliError, DataError, printable
from cnncli.recipes.check_data import check_data
from cnncli.storage.atomic import write_atomically
from cnncli.terminal.console import Console

GRAYSCALE_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
"""Pillow's modes without colors."""
MAX_LINES = 10


def write_config(folder: Path, out: Path, force: bool, console: Console) -> Path:
    """Look at a folder and write a config for it.

    Args:
        folder: the images.
        out: file to write.
        force: replace a file that is there.
        console: shows what was found.

    Returns: the file.

    Raises:
        DataError: there are no two classes of readable images in the folder.
        CnncliError: `out` is there already, or its folder is not.
    """
    _check_target(out, force)
    facts = check_data(absolute(str(folder), Path.cwd()), console)
    if sum(1 for n in _readable_by_class(facts).values() if n) < 2:
        raise DataError(facts.problems or f"{printable(folder)}: holds no two classes of images")
    lines = (*facts.problems, *facts.warnings, *facts.notes)
    for line in lines[:MAX_LINES]:
        console.warn(line)
    if (more := len(lines) - MAX_LINES) > 0:
        console.warn(f"and {more:,} more: see `cnncli data check {printable(folder)}`")
    write_atomically(out, template_for(_facts_for(facts, folder, out), str(out)))
    return out


def _check_target(out: Path, force: bool) -> None:
    if not out.parent.is_dir():
        raise CnncliError(f"{printable(out.parent)}: no such folder to write {printable(out.name)} into")
    if out.is_dir():
        raise CnncliError(f"{printable(out)}: a folder; --out names the file to write")
    if out.exists() and not force:
        raise CnncliError(f"{printable(out)}: is there already. --force replaces it, --out names another file")


def _readable_by_class(facts: FolderFacts) -> dict[str, int]:
    return {label: sum(counts.get(label, 0) for counts in facts.counts.values()) for label in facts.classes}


def _facts_for(facts: FolderFacts, folder: Path, out: Path) -> DatasetFacts:
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
    """A folder as seen from another; absolute where there is no way, as between drives."""
    try:
        relative = os.path.relpath(folder.resolve(), start.resolve())
    except ValueError:
        return str(folder)
    return f"./{relative}" if relative.startswith("~") else relative
