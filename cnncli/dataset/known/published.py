"""Published datasets as they come: download their files, check their hashes, and read their images."""

from __future__ import annotations

import logging
from functools import partial
from importlib import import_module
from pathlib import Path

from cnncli.catalogue.datasets import DatasetInfo
from cnncli.dataset.known.images import KnownImage
from cnncli.dataset.known.sources import ARCHIVE_SUFFIXES, Files
from cnncli.errors import DataError, Message, printable
from cnncli.storage.download import DownloadError, PublishedFile, download, has_digest, keras_folder

log = logging.getLogger(__name__)


def download_files(info: DatasetInfo) -> Path:
    """Return the folder with the files of a dataset below Keras's folder, after downloading those that are missing.

    Raises:
        DataError: A file cannot be downloaded, is incomplete, or does not have the published hash.
    """
    folder = keras_folder("datasets") / info.name
    for file in info.files:
        target = folder / file.name
        if not (target.is_file() and _is_published(target, file)):
            _download(info, file, target)
    return folder


def check_archives(info: DatasetInfo, source: Path) -> None:
    """Warn of archives with the name of a published file but another hash; unpacked files are checked when read."""
    paths = sorted(source.iterdir()) if source.is_dir() else [source]
    for path in paths:
        if path.name.lower().endswith(ARCHIVE_SUFFIXES) and (digest := info.known_hashes.get(path.name)):
            warn_unless_published(info, path.name, has_digest(path, digest))


def warn_unless_published(info: DatasetInfo, name: str, is_published: bool) -> None:
    """Warn of a file that has the name of a published one, but not its hash."""
    if not is_published:
        text = f"{printable(name)}: is not the published file of {info.title}: its hash differs"
        log.warning(Message("data-prepare-hash", text, path=name))


def read_images(files: Files, info: DatasetInfo, source: Path) -> list[KnownImage]:
    """Return the images of a download with their labels and published splits.

    Raises:
        DataError: There are none, or a file is missing or damaged.
    """
    found: list[KnownImage] = import_module(f"cnncli.dataset.known.{info.module}").read(files, info)
    if not found:
        text = f"{printable(source)}: has no images of {info.title}; expected {info.forms}"
        raise DataError(Message("data-prepare-nothing-found", text, path=source))
    return found


def _is_published(path: Path, file: PublishedFile) -> bool:
    return file.digest is None or has_digest(path, file.digest)


def _download(info: DatasetInfo, file: PublishedFile, target: Path) -> None:
    log.info(f"downloading {file.name} from {file.url}")
    try:
        download(file.url, target, partial(_is_published, file=file), info.title)
    except DownloadError as error:
        remedy = f"download it elsewhere, and run: cnncli data prepare {info.name} FILE|DIR --out DIR"
        text = f"{file.name} cannot be downloaded from {file.url} ({error}); {remedy}"
        facts = {"url": file.url, "path": target, "reason": str(error)}
        raise DataError(Message("data-prepare-download-failed", text, **facts)) from error
