"""The index of verified files, and its behavior if it is damaged, locked or outdated."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cnncli.config.data_settings import DataConfig
from cnncli.dataset import stat_index, verification
from cnncli.dataset.dataset import read_dataset
from cnncli.dataset.stat_index import StatIndex, StatKey, stat_key
from cnncli.dataset.verification import require_unchanged
from cnncli.errors import DataError, Message
from cnncli.images.verify import ImageFacts
from cnncli.storage.cache_dir import cache_dir
from cnncli.terminal.console import Console
from tests.images.making import write_classes
from tests.support.logged import codes_in

OLD: StatKey = (100, 1_600_000_000_123_456_789, 1_600_000_000_123_456_789)
FACTS = ImageFacts("ab" * 32, 100, 4, 3, "JPEG", "RGB")
BROKEN = ImageFacts("cd" * 32, 100, problem=Message("image-truncated", "is truncated (x)"))


@pytest.fixture
def index(tmp_path: Path) -> StatIndex:
    """Return an index in a folder that does not exist yet."""
    return StatIndex(tmp_path / "cache" / "images.sqlite")


def entries(index: StatIndex, folder: Path) -> dict[str, tuple[StatKey, ImageFacts]]:
    """Return the entries of files below a folder by path."""
    return {path: (key, facts) for path, key, facts in index.below(folder)}


def test_stored_entries_are_returned(index: StatIndex) -> None:
    """Entries of good and bad images are returned for the requested folder only, until they are removed."""
    name = "/d/a/" + os.fsdecode(b"\xff'\n.jpg")
    index.remember([(name, OLD, FACTS), ("/d/a/b.jpg", OLD, BROKEN), ("/d/ab/c.jpg", OLD, FACTS), ("/d", OLD, FACTS)])
    assert entries(index, Path("/d/a")) == {name: (OLD, FACTS), "/d/a/b.jpg": (OLD, BROKEN)}
    assert len(entries(index, Path("/d"))) == 3
    assert len(entries(index, Path("/"))) == 4
    index.forget([name, "/d/unknown"])
    assert list(entries(index, Path("/d/a"))) == ["/d/a/b.jpg"]


def test_all_entries_are_returned_if_they_are_many(index: StatIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries are read a few at a time, each once and sorted by path, also if damaged ones are between them."""
    monkeypatch.setattr(stat_index, "_PAGE", 3)
    names = [f"/d/{k:02}" for k in range(10)]
    index.remember([(name, OLD, FACTS) for name in reversed(names)])
    with closing(sqlite3.connect(index.path)) as table, table:
        table.execute("UPDATE images_4 SET width = 'wide' WHERE path < ?", (b"/d/04",))
    assert [path for path, _, _ in index.below(Path("/d"))] == names[4:]


def test_entries_of_deleted_files_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifying a folder deletes the entries of files that no longer exist, and no others."""
    monkeypatch.setattr(stat_index, "_is_settled", lambda *_: True)
    root = write_classes(tmp_path / "data", {"cats": 2, "dogs": 2}).resolve()
    read_dataset(DataConfig(path=root))
    before = entries(StatIndex(), root)
    deleted, *kept = sorted(before)
    Path(deleted).unlink()
    read_dataset(DataConfig(path=root / "dogs"))
    assert len(before) == 4
    assert sorted(entries(StatIndex(), root)) == sorted(before)
    read_dataset(DataConfig(path=root))
    assert sorted(entries(StatIndex(), root)) == kept


def test_only_images_of_the_split_are_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking that a split is unchanged does not look at other files of the folder, which can be many and far away."""
    monkeypatch.setattr(stat_index, "_is_settled", lambda *_: True)
    data = DataConfig(path=write_classes(tmp_path / "data", {"cats": 2, "dogs": 2}))
    one, *_ = read_dataset(data).good
    looked_up: list[Path] = []
    monkeypatch.setattr(verification, "stat_key", lambda path: [looked_up.append(path), stat_key(path)][1])
    require_unchanged([one], data, "", Console())
    assert looked_up == [one.path]


def test_of_many_missing_images_the_first_are_named_and_all_counted(tmp_path: Path) -> None:
    """An error about thousands of images of a run stays short, and says how many there are."""
    data = DataConfig(path=write_classes(tmp_path / "data", {"cats": 15, "dogs": 15}))
    records = read_dataset(data).good
    for one in records[:25]:
        one.path.unlink()
    with pytest.raises(DataError) as caught:
        require_unchanged(records, data, "restore them", Console())
    *named, last = caught.value.problems
    assert ([one.facts["path"] for one in named], last.facts["n"]) == ([one.path for one in records[:20]], 25)


def test_a_later_entry_replaces_an_earlier_one(index: StatIndex) -> None:
    """A new entry for a path replaces the earlier one."""
    index.remember([("/d/a", OLD, BROKEN)])
    index.remember([("/d/a", OLD, FACTS)])
    assert entries(index, Path("/d")) == {"/d/a": (OLD, FACTS)}


def test_transient_problems_are_not_stored(index: StatIndex) -> None:
    """Transient problems, such as a missing permission, are not stored."""
    index.remember(
        [("/d/a", OLD, ImageFacts("", 0, problem=Message("image-unreadable", "permission denied"), is_transient=True))]
    )
    assert entries(index, Path("/d")) == {}


def test_files_changed_just_now_are_not_stored(index: StatIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files modified within the last clock tick are not stored, because a second change could go unnoticed."""
    now = 1_700_000_000_000_000_000
    monkeypatch.setattr(stat_index.time, "time_ns", lambda: now)
    fine, coarse = now - 60_000_001, now - 1_000_000_000
    keys = {"/d/new": (1, now - 1, now - 1), "/d/fine": (1, fine, fine), "/d/coarse": (1, coarse, coarse)}
    index.remember([(path, key, FACTS) for path, key in keys.items()])
    assert list(entries(index, Path("/d"))) == ["/d/fine"]


def test_key_changes_with_content_even_if_the_time_is_set_back(tmp_path: Path) -> None:
    """The key of a file changes with its content, even if size and modification time are the same."""
    path = tmp_path / "a"
    path.write_bytes(b"1")
    before, key = path.stat(), stat_key(path)
    while stat_key(path) == key:
        path.write_bytes(b"2")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_entries_of_a_different_pillow_are_ignored(index: StatIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries made with a different version of Pillow are ignored, because it may read other images."""
    index.remember([("/d/a", OLD, BROKEN)])
    monkeypatch.setattr(stat_index, "_MADE_BY", "Pillow 99")
    assert entries(index, Path("/d")) == {}


@pytest.mark.parametrize(
    "content", [b"this is no database at all, not even nearly" * 50, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_damaged_file_is_replaced(index: StatIndex, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """An index file that is not a valid database is replaced by a new one, with one warning."""
    index.path.parent.mkdir()
    index.path.write_bytes(content)
    assert entries(index, Path("/d")) == {}
    index.remember([("/d/a", OLD, FACTS)])
    assert entries(index, Path("/d")) == {"/d/a": (OLD, FACTS)}
    assert codes_in(caplog) == ["cache-damaged"]


def test_damage_in_the_middle_is_tolerated(index: StatIndex) -> None:
    """An index that is damaged in the middle does not raise errors and accepts new entries."""
    index.remember([(f"/d/{k:06}", OLD, FACTS) for k in range(2000)])
    data = bytearray(index.path.read_bytes())
    data[4096:-4096] = bytes(len(data) - 8192)
    index.path.write_bytes(bytes(data))
    entries(index, Path("/d"))
    index.remember([("/d/a", OLD, FACTS)])
    assert "/d/a" in entries(index, Path("/d"))


def test_rows_with_wrong_types_are_ignored(index: StatIndex) -> None:
    """Rows with values of a wrong type are ignored."""
    index.remember([("/d/a", OLD, FACTS), ("/d/b", OLD, FACTS)])
    with closing(sqlite3.connect(index.path)) as table, table:
        table.execute("UPDATE images_4 SET digest = 5, width = 'wide' WHERE path = ?", (b"/d/a",))
    assert list(entries(index, Path("/d"))) == ["/d/b"]


def test_a_locked_file_is_tolerated(index: StatIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that another process keeps locked is treated as empty after a short wait."""
    monkeypatch.setattr(stat_index, "_WAIT_S", 0.05)
    index.remember([("/d/a", OLD, FACTS)])
    with closing(sqlite3.connect(index.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        index.remember([("/d/b", OLD, FACTS)])
        assert entries(index, Path("/d")) == {}
    assert entries(index, Path("/d")) == {"/d/a": (OLD, FACTS)}


def test_a_folder_that_cannot_be_written_is_tolerated(tmp_path: Path) -> None:
    """An index that cannot be created, because a file or folder is in its place, is treated as empty."""
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "images.sqlite", tmp_path):
        index = StatIndex(path)
        index.remember([("/d/a", OLD, FACTS)])
        assert entries(index, Path("/d")) == {}


def test_a_table_with_different_columns_is_tolerated(index: StatIndex) -> None:
    """A table with unexpected columns is treated as empty."""
    index.path.parent.mkdir()
    with closing(sqlite3.connect(index.path)) as table, table:
        table.execute("CREATE TABLE images_4 (other TEXT)")
    index.remember([("/d/a", OLD, FACTS)])
    assert entries(index, Path("/d")) == {}


def test_timestamps_out_of_range_are_not_stored(index: StatIndex) -> None:
    """Files with timestamps beyond the range of SQLite integers are not stored, and no error is raised."""
    index.remember([("/d/a", (1, 2**70, -(2**70)), FACTS)])
    index.remember([("/d/a", (1, -(2**70), 5), FACTS)])
    assert entries(index, Path("/d")) == {}


def test_the_default_index_is_in_the_cache_folder() -> None:
    """By default, the index is the file images.sqlite in the cache folder."""
    assert StatIndex().path == cache_dir() / "images.sqlite"


def test_the_table_of_an_older_version_is_ignored_and_kept(index: StatIndex) -> None:
    """The table of an older version of cnncli is not used, but kept in the same file."""
    index.path.parent.mkdir()
    with closing(sqlite3.connect(index.path)) as table, table:
        table.execute("CREATE TABLE images_1 (path BLOB PRIMARY KEY, digest TEXT)")
        table.execute("INSERT INTO images_1 VALUES (?, 'x')", (b"/d/a",))
    assert entries(index, Path("/d")) == {}
    index.remember([("/d/a", OLD, FACTS)])
    assert entries(index, Path("/d")) == {"/d/a": (OLD, FACTS)}
    with closing(sqlite3.connect(index.path)) as table:
        assert table.execute("SELECT * FROM images_1").fetchall() == [(b"/d/a", "x")]


@pytest.mark.parametrize("blob", [b"too short", "text", 5, None])
def test_invalid_thumbnails_are_ignored(index: StatIndex, blob: object) -> None:
    """Rows with a thumbnail of a wrong type or size are ignored."""
    index.remember([("/d/a", OLD, FACTS), ("/d/b", OLD, FACTS)])
    with closing(sqlite3.connect(index.path)) as table, table:
        table.execute("UPDATE images_4 SET thumbnail = ? WHERE path = ?", (blob, b"/d/a"))
    assert list(entries(index, Path("/d"))) == ["/d/b"]


def test_thumbnails_are_returned_unchanged(index: StatIndex) -> None:
    """Thumbnails are returned byte for byte."""
    facts = ImageFacts("ab" * 32, 100, 4, 3, "JPEG", "RGB", thumbnail=bytes(range(256)) + bytes(32))
    index.remember([("/d/a", OLD, facts)])
    assert entries(index, Path("/d")) == {"/d/a": (OLD, facts)}
