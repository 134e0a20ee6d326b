"""Checksums detect damage, and lead to no file outside of the folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cnncli.storage.checksums import CHECKSUMS, checksummed, damage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checksummed folder with one file."""
    with checksummed(tmp_path / "a") as temporary:
        (temporary / "x.bin").write_bytes(b"x")
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "a"


def test_an_unchanged_folder_is_valid(folder: Path) -> None:
    """Files that other programs add to it do not matter."""
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
    ("harm", "says"),
    [
        (lambda folder: (folder / "x.bin").write_bytes(b"y"), "x.bin changed since it was written"),
        (lambda folder: (folder / "x.bin").unlink(), "x.bin is missing"),
        (lambda folder: (folder / CHECKSUMS).unlink(), "sha256.json is missing"),
        (_link, "sha256.json names x.bin, not a file of this folder"),
        (_pipe, "sha256.json names x.bin, not a file of this folder"),
        (_names("../secret"), "sha256.json names ../secret, not a file of this folder"),
        (_names("/dev/zero"), "sha256.json names /dev/zero, not a file of this folder"),
        (_names(".."), "sha256.json names .., not a file of this folder"),
        (_names(""), "sha256.json names , not a file of this folder"),
        (_names("a\0b"), "sha256.json: "),
        (lambda folder: (folder / CHECKSUMS).write_text("[1]"), "sha256.json: holds no checksums"),
        (lambda folder: (folder / CHECKSUMS).write_text("["), "sha256.json: "),
        (lambda folder: (folder / CHECKSUMS).write_text("[" * 100_000), "sha256.json: nested too deeply"),
    ],
)
def test_damage_is_described(harm: Callable[[Path], object], says: str, folder: Path) -> None:
    """Nothing outside of the folder is read, and a pipe blocks nobody."""
    harm(folder)

    assert (damage(folder) or "").startswith(says)
