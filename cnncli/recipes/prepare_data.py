"""`cnncli data prepare`: a dataset as it is downloaded, arranged into train, validation and test of class folders."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnncli.dataset.archive_files import files_of
from cnncli.dataset.dogs_vs_cats import check_sizes, choose, labelled, sorted_out, write_arranged
from cnncli.errors import DataError, printable
from cnncli.terminal.console import Console


@dataclass(frozen=True)
class Prepared:
    """A folder that was arranged.

    Attributes:
        path: the folder.
        counts: images by split and class.
        broken: names in the download and reasons of the images that cannot be read.
    """

    path: Path
    counts: Mapping[tuple[str, str], int]
    broken: tuple[tuple[str, str], ...]


def prepare_dogs_vs_cats(source: Path, out: Path, sizes: Mapping[str, int], seed: int, console: Console) -> Prepared:
    """Arrange Kaggle's or Microsoft's Dogs vs. Cats.

    Args:
        source: the zip, or the folder it was unpacked into; an arranged folder keeps its splits.
        out: the folder to make; appears whole or not at all.
        sizes: images of each split, half of each class.
        seed: of the choice.
        console: names broken files.
    Raises: DataError: nothing of the kind in the source, too few images, something in the way.
    """
    check_sizes(sizes)
    with _appearing(out) as (folder, scratch), files_of(source, scratch) as files:
        found = labelled(files)
        if not found:
            raise DataError(
                f"{printable(source)}: no images of Dogs vs. Cats in it; expected are cat.0.jpg, dog.0.jpg … as at"
                " Kaggle's, PetImages/Cat/0.jpg … as at Microsoft's, or train/cats, train/dogs …"
            )
        with console.progress(len(found), "images") as bar:
            images = sorted_out(files, found, bar.update)
        for name, reason in images.broken:
            console.warn(f"{printable(name)}: {reason}; left out")
        if images.n_copies:
            console.say(f"left out because an earlier image is the same: {images.n_copies:,}")
        chosen = choose(images.good, sizes, seed)
        write_arranged(files, chosen, folder)
    return Prepared(out, {key: len(some) for key, some in chosen.items()}, images.broken)


@contextmanager
def _appearing(out: Path) -> Iterator[tuple[Path, Path]]:
    """A folder to fill, which becomes `out` in one step when the block ends well, and one for what is in between."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{printable(out)}: is there already and not empty; name a new folder")
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
