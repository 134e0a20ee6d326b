"""Untrusted files can neither block the reader nor fill its memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnncli.storage.safe_io import open_regular, parse_json, read_bytes, read_json


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    """Regular files are read, also through links."""
    (tmp_path / "a").write_bytes(b'{"x": 1}')
    (tmp_path / "link").symlink_to("a")

    assert read_bytes(tmp_path / "a", 8) == b'{"x": 1}'
    assert read_json(tmp_path / "link") == {"x": 1}


def test_a_pipe_and_a_device_are_refused_at_once(tmp_path: Path) -> None:
    """Pipes and devices are refused at once, without waiting for data."""
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(path)


def test_a_folder_and_a_missing_file_have_the_usual_errors(tmp_path: Path) -> None:
    """A folder or a missing file raises the same exception as `open`."""
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """A file above the limit is not read, even if it is sparse and takes no space on disk."""
    with (tmp_path / "a").open("wb") as file:
        file.truncate(2**40)

    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_bytes(tmp_path / "a", 100)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000])
def test_deeply_nested_json_is_invalid(text: bytes) -> None:
    """Deeply nested JSON is a ValueError, not a RecursionError."""
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(text)
