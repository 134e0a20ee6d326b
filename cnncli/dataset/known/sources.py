"""The files of a download: a folder, a zip, a tar, or one file; and archives inside a folder or a zip."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from cnncli.errors import DataError, Message, printable, reason_of
from cnncli.storage.safe_io import open_regular, read_bytes
from cnncli.storage.tars import SUFFIXES as TAR_SUFFIXES
from cnncli.storage.tars import unpack_tar
from cnncli.storage.zips import ARCHIVE_ERRORS, ArchiveRefusedError, most_unpacked, open_zip, read_entry, unpack_entry

MOST_FILES, MOST_ZIPS = 500_000, 100  # limits of a download; Kaggle's Dogs vs. Cats has 37,500 images in two zips
ZIP_SUFFIXES = (".zip", ".npz")
ARCHIVE_SUFFIXES = (*ZIP_SUFFIXES, *TAR_SUFFIXES)

_UNLABELED = "test"  # Kaggle packs its unlabeled test images in a separate zip

Files = Mapping[str, Callable[[int], bytes]]
"""Functions that read a file up to a maximum size in bytes, by its name in the download with `/` as separator."""


@contextmanager
def files_of(source: Path, scratch: Path) -> Iterator[Files]:
    """Yield the files of a download. Reading an unreadable file raises one of `ARCHIVE_ERRORS`.

    Hidden files are skipped. Tars and inner zips are unpacked into the folder `scratch`.

    Raises:
        DataError: The source does not exist, or it or an archive in it is damaged.
    """
    with ExitStack() as archives:
        try:
            found = _Source(scratch, archives)
            files = found.folder(source) if source.is_dir() else found.file(source)
        except FileNotFoundError:
            raise DataError(Message("data-path-missing", f"{printable(source)}: no such file", path=source)) from None
        except ARCHIVE_ERRORS as error:
            text = f"{printable(source)}: is not an archive of a dataset, or is incomplete ({reason_of(error)})"
            raise DataError(Message("data-prepare-not-an-archive", text, path=source)) from None
        yield files


class _Source:
    """Collects the files of a download, with archives that stay open until `archives` is closed."""

    def __init__(self, scratch: Path, archives: ExitStack) -> None:
        self._scratch, self._archives = scratch, archives

    def folder(self, source: Path) -> Files:
        files: dict[str, Callable[[int], bytes]] = {}
        for path in sorted(path for path in source.rglob("*") if not path.is_dir()):
            name = path.relative_to(source).as_posix()
            if not _is_visible(name):
                continue
            if name.lower().endswith(TAR_SUFFIXES):
                files.update(self._tar(path))
            elif name.lower().endswith(ZIP_SUFFIXES) and not name.lower().startswith(_UNLABELED):
                files.update(self._zip(path))
            else:
                files[name] = partial(read_bytes, path)
        return files

    def file(self, source: Path) -> Files:
        name = source.name.lower()
        if name.endswith(TAR_SUFFIXES):
            return self._tar(source)
        with open_regular(source) as file:
            is_zip = file.read(2) == b"PK"
        return self._zip(source) if is_zip or name.endswith(".zip") else {source.name: partial(read_bytes, source)}

    def _tar(self, source: Path) -> Files:
        folder = self._scratch / f"tar-{len(list(self._scratch.iterdir()))}"
        folder.mkdir()
        unpacked = unpack_tar(source, folder, MOST_FILES)
        return {name: partial(read_bytes, path) for name, path in unpacked.items() if _is_visible(name)}

    def _zip(self, source: Path, prefix: str = "") -> Files:
        archive = self._archives.enter_context(open_zip(source))
        files: dict[str, Callable[[int], bytes]] = {}
        for entry in archive.infolist():
            name = entry.filename.replace("\\", "/")
            if entry.is_dir() or not _is_visible(name):
                continue
            inner = PurePosixPath(name)
            if inner.suffix.lower() != ".zip":
                files[prefix + name] = partial(read_entry, archive, entry)
            elif not prefix and not inner.stem.lower().startswith(_UNLABELED):
                files.update(self._zip(self._unpack(archive, entry, source), f"{name}/"))
            if len(files) > MOST_FILES:
                raise ArchiveRefusedError(f"it has more than {MOST_FILES:,} files")
        return files

    def _unpack(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, source: Path) -> Path:
        """Unpack a zip inside a zip to a file with a safe name."""
        others = [path.stat().st_size for path in self._scratch.iterdir()]
        if len(others) == MOST_ZIPS:
            raise ArchiveRefusedError(f"it has more than {MOST_ZIPS} zips")
        path = self._scratch / f"{len(others)}.zip"
        with path.open("wb") as file:
            unpack_entry(archive, entry, file, most_unpacked(source.stat().st_size) - sum(others))
        return path


def _is_visible(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" not in parts and not any(part.startswith(".") and part not in (".", "..") for part in parts)
