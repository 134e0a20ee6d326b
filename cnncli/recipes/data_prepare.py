"""`cnncli data prepare`: arrange a downloaded dataset into train, validation and test folders of class folders."""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnncli.dataset.archive_files import files_of
from cnncli.dataset.dogs_vs_cats import check_sizes, label_files, select_files, verify_files, write_files
from cnncli.errors import DataError, Message, printable
from cnncli.terminal.console import Console

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """Result of arranging a dataset.

    Attributes:
        path: folder that was created.
        counts: number of images by split and class.
        broken: unreadable images by their names in the download, with the reason of each.
    """

    path: Path
    counts: Mapping[tuple[str, str], int]
    broken: tuple[tuple[str, Message], ...]


def prepare_dogs_vs_cats(source: Path, out: Path, sizes: Mapping[str, int], seed: int, console: Console) -> Prepared:
    """Arrange Dogs vs. Cats as distributed by Kaggle or Microsoft.

    Args:
        source: the zip, or the folder into which it was unpacked; an arranged folder keeps its splits.
        out: folder to create; it appears complete or not at all.
        sizes: number of images of each split, half of each class.
        seed: seed of the selection.
        console: shows progress.

    Raises:
        DataError: the source has no such images or too few of them, or `out` is not empty.
    """
    check_sizes(sizes)
    with _atomic_folder(out) as (folder, scratch), files_of(source, scratch) as files:
        found = label_files(files)
        if not found:
            text = (
                f"{printable(source)}: has no images of Dogs vs. Cats; expected cat.0.jpg, dog.0.jpg … as from Kaggle, "
                "PetImages/Cat/0.jpg … as from Microsoft, or train/cats, train/dogs …"
            )
            raise DataError(Message("data-prepare-nothing-found", text, path=source))
        with console.progress(len(found), "images") as bar:
            images = verify_files(files, found, bar.update)
        for name, reason in images.broken:
            text = f"{printable(name)}: {reason}; left out"
            log.warning(Message("data-prepare-left-out", text, path=name, reason=reason))
        if images.n_copies:
            log.info(Message("data-prepare-copies", f"copies left out: {images.n_copies:,}", n=images.n_copies))
        chosen = select_files(images.good, sizes, seed)
        write_files(files, chosen, folder)
    return Prepared(out, {key: len(some) for key, some in chosen.items()}, images.broken)


@contextmanager
def _atomic_folder(out: Path) -> Iterator[tuple[Path, Path]]:
    """Provide a folder that becomes `out` in one step at the end of the block, and a scratch folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        text = f"{printable(out)}: exists already and is not empty; name a new folder"
        raise DataError(Message("data-prepare-not-empty", text, path=out))
    work = out.absolute().parent / f".{out.name}.{secrets.token_hex(4)}"
    try:
        for name in ("out", "scratch"):
            (work / name).mkdir(parents=True)
        yield work / "out", work / "scratch"
        if out.is_dir():
            out.rmdir()
        (work / "out").rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
