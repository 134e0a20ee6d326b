"""A file is written completely or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from cnncli.errors import CnncliError
from cnncli.storage.atomic import creating, output_path, replacing, write_atomically


def names(folder: Path) -> list[str]:
    """Return the names of all files in a folder, including hidden ones."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("data", [b"\x00\xff", "naïve\r\n", ""])
def test_a_file_holds_what_was_written(tmp_path: Path, data: bytes | str) -> None:
    """Text is written as UTF-8 with its line endings, and no temporary file is left."""
    write_atomically(tmp_path / "a.txt", data)

    assert (tmp_path / "a.txt").read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert names(tmp_path) == ["a.txt"]


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    """New content replaces an existing file."""
    write_atomically(tmp_path / "a.txt", "old")
    write_atomically(tmp_path / "a.txt", "new")

    assert (tmp_path / "a.txt").read_text() == "new"


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    """Until the new content is complete, readers see the old content."""
    (tmp_path / "a.txt").write_text("old")
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("ne")
        during = (tmp_path / "a.txt").read_text()
        temporary.write_text("new")

    assert (during, (tmp_path / "a.txt").read_text()) == ("old", "new")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    """After any exception, the old file is unchanged and the temporary file is deleted."""
    (tmp_path / "a.txt").write_text("old")

    def write_half() -> None:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()

    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_of_another_process_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    """A new file appears complete; if another one took its name meanwhile, that stays and nothing else is left."""
    if not has_links:

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)

    def create(content: str, other: str | None) -> None:
        with creating(tmp_path / "a.txt") as temporary:
            temporary.write_text(content)
            if other is not None:
                (tmp_path / "a.txt").write_text(other)

    with pytest.raises(FileExistsError):
        create("mine", other="of another process")
    assert (tmp_path / "a.txt").read_text() == "of another process"
    (tmp_path / "a.txt").unlink()
    create("mine", other=None)
    assert (tmp_path / "a.txt").read_text() == "mine"
    assert names(tmp_path) == ["a.txt"]


def test_the_temporary_file_is_hidden_and_keeps_the_suffix(tmp_path: Path) -> None:
    """The temporary file is in the same folder and has the same suffix, by which some writers choose the format."""
    with replacing(tmp_path / "model.keras") as temporary:
        temporary.write_bytes(b"")

    assert temporary.parent == tmp_path
    assert temporary.name.startswith(".")
    assert temporary.suffix == ".keras"


def test_bytes_reach_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced, renamed, and its folder synced, in this order, so that a crash leaves no empty file."""
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_atomically(tmp_path / "a.txt", "text")

    assert order == ["file", "rename", "folder"] if os.name != "nt" else ["file", "rename"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such rights")
def test_the_umask_sets_the_permissions(tmp_path: Path) -> None:
    """The file has the permissions of an ordinary new file, not those of a private temporary file."""
    write_atomically(tmp_path / "a.txt", "text")
    (tmp_path / "b.txt").write_text("text")

    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has this file system")
def test_an_output_is_refused_where_nothing_can_be_created() -> None:
    """A folder that allows no new files, not even for root, is reported before there is anything to write."""
    with pytest.raises(CnncliError) as error:
        output_path(Path("/proc/figure.png"))
    assert error.value.code == "usage-out-folder-not-writable"
    assert error.value.facts["path"] == Path("/proc")
