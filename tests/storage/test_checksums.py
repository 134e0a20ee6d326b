"""Checksums detect damage and give access to no file outside the folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cnncli.storage.checksums import CHECKSUMS, checksummed, damage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one file and checksums."""
    with checksummed(tmp_path / "a") as temporary:
        (temporary / "x.bin").write_bytes(b"x")
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "a"


def test_an_unchanged_folder_is_valid(folder: Path) -> None:
    """A folder is valid even if other programs add files to it."""
    (folder / ".DS_Store").write_bytes(b"x")

    assert damage(folder) is None


def _names(*names: str) -> Callable[[Path], object]:
    return lambda folder: (folder / CHECKSUMS).write_text(json.dumps(dict.fromkeys(names, "0" * 64)))


def _link(folder: Path) -> None:
    (folder / "x.bin").rename(folder.parent / "y.bin")
    (folder / "x.bin").symlink_to(folder.parent / "y.bin")


def _pipe(folder: Path) -> None:
    (folder / "x.bin").unlink()
    os.mkfifo(folder / "x.bin")


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda folder: (folder / "x.bin").write_bytes(b"y"), "x.bin"),
        (lambda folder: (folder / "x.bin").unlink(), "x.bin"),
        (_link, "x.bin"),
        (_pipe, "x.bin"),
        (_names("../secret"), "../secret"),
        (_names("/dev/zero"), "/dev/zero"),
        (_names(".."), ".."),
        (_names(""), ""),
        (_names("a\0b"), "a\\x00b"),
        (lambda folder: (folder / CHECKSUMS).unlink(), CHECKSUMS),
        (lambda folder: (folder / CHECKSUMS).write_text("[1]"), CHECKSUMS),
        (lambda folder: (folder / CHECKSUMS).write_text("["), CHECKSUMS),
        (lambda folder: (folder / CHECKSUMS).write_text("[" * 100_000), CHECKSUMS),
    ],
)
def test_damage_names_the_file(harm: Callable[[Path], object], named: str, folder: Path) -> None:
    """The error names the damaged file; no file outside the folder is read, and a pipe does not block."""
    harm(folder)

    problem = damage(folder) or ""
    assert problem.startswith(f"{CHECKSUMS}: ")
    assert named in problem
