"""Untrusted files neither block the reader nor fill its memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnncli.storage.safe_io import open_regular, parse_json, read_bytes, read_json


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    """Links are followed; other checks decide whether they are allowed."""
    (tmp_path / "a").write_bytes(b'{"x": 1}')
    (tmp_path / "link").symlink_to("a")

    assert read_bytes(tmp_path / "a", 8) == b'{"x": 1}'
    assert read_json(tmp_path / "link") == {"x": 1}


def test_a_pipe_and_a_device_are_refused_at_once(tmp_path: Path) -> None:
    """Opening a pipe would wait for a writer, and reading a device would never end."""
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(path)


def test_a_folder_and_a_missing_file_have_the_usual_errors(tmp_path: Path) -> None:
    """The exceptions are those of `open`."""
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """A sparse file of a terabyte takes no space on disk."""
    with (tmp_path / "a").open("wb") as file:
        file.truncate(2**40)

    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_bytes(tmp_path / "a", 100)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000])
def test_deeply_nested_json_is_invalid(text: bytes) -> None:
    """It is a ValueError, not a RecursionError."""
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(text)
