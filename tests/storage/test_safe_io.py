"""Files from anywhere neither make the reader wait nor fill its memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnncli.storage.safe_io import open_regular, parse_json, read_bytes, read_json


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    """Through a link, too: what a link leads to is for others to judge."""
    (tmp_path / "a").write_bytes(b'{"x": 1}')
    (tmp_path / "link").symlink_to("a")

    assert read_bytes(tmp_path / "a", 8) == b'{"x": 1}'
    assert read_json(tmp_path / "link") == {"x": 1}


def test_a_pipe_and_a_device_are_refused_at_once(tmp_path: Path) -> None:
    """Whoever opens a pipe waits until somebody writes into it; a device gives bytes for ever."""
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(path)


def test_a_folder_and_nothing_are_what_they_are(tmp_path: Path) -> None:
    """The system's own words for them."""
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """A sparse terabyte costs nothing to make."""
    with (tmp_path / "a").open("wb") as file:
        file.truncate(2**40)

    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_bytes(tmp_path / "a", 100)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000])
def test_json_without_end_is_no_json(text: bytes) -> None:
    """An error like any other, and no RecursionError."""
    with pytest.raises(ValueError, match="nested without end"):
        parse_json(text)
