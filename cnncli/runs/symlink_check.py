"""What a run folder holds lies in it: a folder from elsewhere may hold links that lead whoever writes to it astray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from cnncli.errors import RunError, printable
from cnncli.runs.layout import RunFolder

MOST_FILES = 100_000
SHOWN = 8


def require_own_files(run: RunFolder) -> None:
    """Find everything that cnncli reads or writes in a run to be plain files and folders of its own.

    Raises: RunError: a link, a pipe or a device is in the place of one of them.
    """
    found = list(islice(_foreign(run), SHOWN))
    if found:
        named = ", ".join(printable(path.relative_to(run.path)) for path in found)
        raise RunError(
            f"{printable(run.path)}: {named}: no plain file of this run, but a link, a pipe or a device; a run holds "
            "its own files. Copy it with them (cp -rL), if you trust where it comes from."
        )


def _foreign(run: RunFolder) -> Iterator[Path]:
    folders = [run.state, run.engine, run.curves.parent, run.tensorboard]
    files = [run.config, run.manifest, run.skipped, run.near_duplicates, run.classes, run.facts, run.environment]
    files += [run.log, run.history, run.ledger, run.metrics, run.model, run.lock, run.evaluations]
    yield from (path for path in files if _is_there(path) and (path.is_symlink() or not path.is_file()))
    yield from (path for path in folders if _is_there(path) and (path.is_symlink() or not path.is_dir()))
    yield from (path for folder in folders if not folder.is_symlink() for path in _foreign_below(folder))


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _foreign_below(folder: Path) -> Iterator[Path]:
    seen = 0
    for where, folders, files in os.walk(folder):  # does not go into links
        seen += len(folders) + len(files)
        if seen > MOST_FILES:
            yield Path(where)
            return
        for path in (Path(where, name) for name in (*folders, *files)):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                yield path
