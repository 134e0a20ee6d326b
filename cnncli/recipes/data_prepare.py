"""`cnncli data prepare`: arrange a published dataset into train, validation and test folders of class folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from cnncli.catalogue.datasets import DATASETS, DatasetInfo
from cnncli.dataset.known.dogs_vs_cats import select_files, without_copies
from cnncli.dataset.known.images import draw_validation, keep_splits_apart, take, verify_images, write_images
from cnncli.dataset.known.published import check_archives, download_files, read_images
from cnncli.dataset.known.sources import Files, files_of
from cnncli.errors import DataError, Message, printable
from cnncli.terminal.console import Console


def prepare_dataset(
    name: str,
    source: Path | None,
    out: Path,
    console: Console,
    validation: float = 0,
    limit: int | None = None,
    seed: int = 0,
) -> None:
    """Arrange a published dataset in its published splits; unreadable images, and copies of test images, are left out.

    Args:
        name: Name in `DATASETS`.
        source: Its archive, or a folder with its files; None: they are downloaded to Keras's folder.
        out: Folder to create; it is created completely or not at all.
        console: Console for progress.
        validation: Fraction of train below 1, or number of its images, to draw for validation.
        limit: Maximum number of images of each class and split, or None.
        seed: Seed of both draws.

    Raises:
        DataError: The source is not this dataset, cannot be downloaded, or has too few images, or `out` is not empty.
    """
    info = DATASETS[name]
    with _open_source(info, source, out) as (files, source, folder):
        found = take(read_images(files, info, source), limit, seed)
        images = keep_splits_apart(verify_images(files, found, console))
        write_images(files, draw_validation(images, validation, seed), folder, console)


def prepare_dogs_vs_cats(source: Path | None, out: Path, sizes: Mapping[str, int], seed: int, console: Console) -> None:
    """Arrange Dogs vs. Cats as distributed by Kaggle or Microsoft; unreadable images and copies are reported.

    Args:
        source: The zip, or a folder with its contents; if it has split folders, they are kept. None: Microsoft's zip is
            downloaded to Keras's folder.
        out: Folder to create; it is created completely or not at all.
        sizes: Number of images of each split, half of them from each class.
        seed: Seed of the selection.
        console: Console for progress.

    Raises:
        DataError: A size is odd, the source has no such images or too few of them, or `out` is not empty.
    """
    if odd := {f"--{split}": n for split, n in sizes.items() if n % 2}:
        expected = "expected an even number, half of it for each class"
        raise DataError([Message("data-prepare-odd-size", f"{key} {n}: {expected}", key=key) for key, n in odd.items()])
    info = DATASETS["dogs-vs-cats"]
    with _open_source(info, source, out) as (files, source, folder):
        found = read_images(files, info, source)
        good = without_copies(verify_images(files, found, console))
        write_images(files, select_files(good, sizes, seed), folder, console)


@contextmanager
def _open_source(info: DatasetInfo, source: Path | None, out: Path) -> Iterator[tuple[Files, Path, Path]]:
    """Provide the files of a download and its path, and a folder that is renamed to `out` at the end of the block."""
    with _atomic_folder(out) as (folder, scratch):
        source = source or download_files(info)
        with files_of(source, scratch) as files:
            check_archives(info, source)
            yield files, source, folder


@contextmanager
def _atomic_folder(out: Path) -> Iterator[tuple[Path, Path]]:
    """Provide a folder that is renamed to `out` at the end of the block, and a scratch folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        text = f"{printable(out)}: already exists and is not empty; choose a new folder"
        raise DataError(Message("data-prepare-not-empty", text, path=out))
    parent = out.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", dir=parent, ignore_cleanup_errors=True) as work:
        folder, scratch = Path(work, "out"), Path(work, "scratch")
        folder.mkdir()
        scratch.mkdir()
        yield folder, scratch
        if out.is_dir():
            out.rmdir()
        folder.rename(out)
