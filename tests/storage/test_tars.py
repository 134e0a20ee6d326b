"""Tar archives are unpacked within limits, whatever they declare, and never outside of the folder."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cnncli.storage import tars as module
from cnncli.storage.tars import unpack_tar
from cnncli.storage.zips import ARCHIVE_ERRORS, ArchiveRefusedError

Entry = tuple[str, bytes, bytes]
"""Name, type and content."""


def tarred(entries: list[Entry], packed: bool = True) -> bytes:
    """Return a tar archive as bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz" if packed else "w") as archive:
        for name, kind, data in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(data), "../outside"
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def unpack(data: bytes, tmp_path: Path, most_files: int = 10) -> dict[str, bytes]:
    """Unpack an archive and return the contents by name; check that all files are in the folder."""
    (tmp_path / "x.tar").write_bytes(data)
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    found = unpack_tar(tmp_path / "x.tar", folder, most_files)
    assert {path.parent for path in found.values()} <= {folder}
    return {name: path.read_bytes() for name, path in found.items()}


@pytest.mark.parametrize("packed", [False, True])
def test_files_are_unpacked(packed: bool, tmp_path: Path) -> None:
    """Regular files are unpacked from plain and packed archives."""
    entries = [("a/x.txt", tarfile.REGTYPE, b"1" * 1000), ("b", tarfile.REGTYPE, b"")]
    assert unpack(tarred(entries, packed), tmp_path) == {"a/x.txt": b"1" * 1000, "b": b""}


def test_names_that_lead_out_are_only_names(tmp_path: Path) -> None:
    """Files with hostile names are written into the folder; links and devices are left out."""
    names = ["../../outside", "/etc/outside", "a\0b", "x" * 5000]
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
    entries = [(name, tarfile.REGTYPE, b"x") for name in names] + [(f"k{k}", kind, b"") for k, kind in enumerate(kinds)]
    assert list(unpack(tarred(entries), tmp_path)) == ["../../outside", "/etc/outside", "a", "x" * 5000]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "x.tar"]


def _long_name() -> bytes:
    """Return an archive whose header declares a name of a gigabyte."""
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 2**30
    return gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + bytes(2**21))


REFUSED: dict[str, Callable[[], bytes]] = {
    "bomb": lambda: tarred([("a", tarfile.REGTYPE, bytes(50_000_000))]),
    "bomb in a device": lambda: tarred([("a", tarfile.CHRTYPE, b""), ("b", tarfile.REGTYPE, bytes(50_000_000))]),
    "many files": lambda: tarred([(f"{k}", tarfile.REGTYPE, b"") for k in range(11)]),
    "long name": _long_name,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_archives_beyond_the_limits_are_refused(kind: str, tmp_path: Path) -> None:
    """An archive that expands too much, has too many files, or a header of a gigabyte, is refused."""
    with pytest.raises(ArchiveRefusedError):
        unpack(REFUSED[kind](), tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"no tar" * 200, tarred([("a", tarfile.REGTYPE, b"x" * 9000)], packed=False)[:4000]]
)
def test_other_and_truncated_files_are_archive_errors(data: bytes, tmp_path: Path) -> None:
    """A file that is not a tar archive, or is truncated, raises one of the archive errors."""
    with pytest.raises(ARCHIVE_ERRORS):
        unpack(data, tmp_path)


def test_an_archive_that_does_not_fit_on_the_disk_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If less is free than a file needs, nothing is written for it, and the error is that of a full disk."""
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 500})())
    with pytest.raises(OSError, match="No space left"):
        unpack(tarred([("a", tarfile.REGTYPE, b"x" * 1000)]), tmp_path)
    assert list((tmp_path / "folder").iterdir()) == []
