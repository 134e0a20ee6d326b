"""A seal tells whether a folder's files are as they were, and of no file elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cnncli.storage.checksums import SEAL, damage, sealed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder with one file."""
    with sealed(tmp_path / "a") as aside:
        (aside / "x.bin").write_bytes(b"x")
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "a"


def test_a_whole_folder_is_whole(folder: Path) -> None:
    """And what others put beside its files changes nothing."""
    (folder / ".DS_Store").write_bytes(b"x")

    assert damage(folder) is None


def _seal(*names: str) -> Callable[[Path], object]:
    return lambda folder: (folder / SEAL).write_text(json.dumps(dict.fromkeys(names, "0" * 64)))


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
        (lambda folder: (folder / SEAL).unlink(), "sha256.json is missing"),
        (_link, "sha256.json names x.bin, which is no file of its own"),
        (_pipe, "sha256.json names x.bin, which is no file of its own"),
        (_seal("../secret"), "sha256.json names ../secret, which is no file of its own"),
        (_seal("/dev/zero"), "sha256.json names /dev/zero, which is no file of its own"),
        (_seal(".."), "sha256.json names .., which is no file of its own"),
        (_seal(""), "sha256.json names , which is no file of its own"),
        (_seal("a\0b"), "sha256.json: "),
        (lambda folder: (folder / SEAL).write_text("[1]"), "sha256.json: holds no checksums"),
        (lambda folder: (folder / SEAL).write_text("["), "sha256.json: "),
        (lambda folder: (folder / SEAL).write_text("[" * 100_000), "sha256.json: nested without end"),
    ],
)
def test_damage_is_told_in_words(harm: Callable[[Path], object], says: str, folder: Path) -> None:
    """Nothing outside of the folder is read, and nothing is waited for."""
    harm(folder)

    assert (damage(folder) or "").startswith(says)
