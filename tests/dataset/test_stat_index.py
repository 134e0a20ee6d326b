"""The index of known files: it remembers what it may, and never stands in the way."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cnncli.dataset import stat_index
from cnncli.dataset.stat_index import StatIndex, StatKey, stat_key
from cnncli.errors import Message
from cnncli.images.verify import ImageFacts
from cnncli.storage.cache_dir import cache_dir

OLD: StatKey = (100, 1_600_000_000_123_456_789, 1_600_000_000_123_456_789)
FACTS = ImageFacts("ab" * 32, 100, 4, 3, "JPEG", "RGB")
BROKEN = ImageFacts("cd" * 32, 100, problem=Message("image-truncated", "is truncated (x)"))


@pytest.fixture
def index(tmp_path: Path) -> StatIndex:
    """An index in a folder that does not exist yet."""
    return StatIndex(tmp_path / "cache" / "images.sqlite")


def test_what_is_remembered_comes_back(index: StatIndex) -> None:
    """Good and bad images, below the folder that is asked for and nowhere else."""
    name = "/d/a/" + os.fsdecode(b"\xff'\n.jpg")
    index.remember([(name, OLD, FACTS), ("/d/a/b.jpg", OLD, BROKEN), ("/d/ab/c.jpg", OLD, FACTS), ("/d", OLD, FACTS)])
    assert index.below(Path("/d/a")) == {name: (OLD, FACTS), "/d/a/b.jpg": (OLD, BROKEN)}
    assert len(index.below(Path("/d"))) == 3
    assert len(index.below(Path("/"))) == 4
    index.forget([name])
    assert index.below(Path("/d/a")) == {"/d/a/b.jpg": (OLD, BROKEN)}


def test_a_later_word_replaces_an_earlier_one(index: StatIndex) -> None:
    """One row a path."""
    index.remember([("/d/a", OLD, BROKEN)])
    index.remember([("/d/a", OLD, FACTS)])
    assert index.below(Path("/d")) == {"/d/a": (OLD, FACTS)}


def test_what_may_pass_is_not_remembered(index: StatIndex) -> None:
    """A permission may be granted, a limit raised."""
    index.remember(
        [("/d/a", OLD, ImageFacts("", 0, problem=Message("image-unreadable", "permission denied"), is_transient=True))]
    )
    assert index.below(Path("/d")) == {}


def test_files_changed_just_now_are_not_remembered(index: StatIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second change within the same tick of the clock would go unnoticed; a coarse clock has a long tick."""
    now = 1_700_000_000_000_000_000
    monkeypatch.setattr(stat_index.time, "time_ns", lambda: now)
    fine, coarse = now - 60_000_001, now - 1_000_000_000
    keys = {"/d/new": (1, now - 1, now - 1), "/d/fine": (1, fine, fine), "/d/coarse": (1, coarse, coarse)}
    index.remember([(path, key, FACTS) for path, key in keys.items()])
    assert list(index.below(Path("/d"))) == ["/d/fine"]


def test_key_changes_with_content_even_if_the_time_is_set_back(tmp_path: Path) -> None:
    """Same size and modification time: the inode's own time tells."""
    path = tmp_path / "a"
    path.write_bytes(b"1")
    before, key = path.stat(), stat_key(path)
    while stat_key(path) == key:
        path.write_bytes(b"2")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_another_pillow_asks_again(index: StatIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may read what the first refused."""
    index.remember([("/d/a", OLD, BROKEN)])
    monkeypatch.setattr(stat_index, "_MADE_BY", "Pillow 99")
    assert index.below(Path("/d")) == {}


@pytest.mark.parametrize(
    "content", [b"this is no database at all, not even nearly" * 50, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_damaged_file_is_replaced(index: StatIndex, content: bytes) -> None:
    """Nothing in it is missed but time."""
    index.path.parent.mkdir()
    index.path.write_bytes(content)
    assert index.below(Path("/d")) == {}
    index.remember([("/d/a", OLD, FACTS)])
    assert index.below(Path("/d")) == {"/d/a": (OLD, FACTS)}


def test_damage_in_the_middle_stops_nothing(index: StatIndex) -> None:
    """A file that opens well and breaks later."""
    index.remember([(f"/d/{k:06}", OLD, FACTS) for k in range(2000)])
    data = bytearray(index.path.read_bytes())
    data[4096:-4096] = bytes(len(data) - 8192)
    index.path.write_bytes(bytes(data))
    index.below(Path("/d"))
    index.remember([("/d/a", OLD, FACTS)])
    assert "/d/a" in index.below(Path("/d"))


def test_rows_of_another_kind_are_ignored(index: StatIndex) -> None:
    """SQLite takes anything in any column."""
    index.remember([("/d/a", OLD, FACTS), ("/d/b", OLD, FACTS)])
    with closing(sqlite3.connect(index.path)) as table, table:
        table.execute("UPDATE images_3 SET digest = 5, width = 'wide' WHERE path = ?", (b"/d/a",))
    assert list(index.below(Path("/d"))) == ["/d/b"]


def test_locked_file_stops_nothing(index: StatIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process is writing, and goes on for longer than anyone likes to wait."""
    monkeypatch.setattr(stat_index, "_WAIT_S", 0.05)
    index.remember([("/d/a", OLD, FACTS)])
    with closing(sqlite3.connect(index.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        index.remember([("/d/b", OLD, FACTS)])
        assert index.below(Path("/d")) == {}
    assert index.below(Path("/d")) == {"/d/a": (OLD, FACTS)}


def test_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """A file in the place of the folder, a folder in the place of the file."""
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "images.sqlite", tmp_path):
        index = StatIndex(path)
        index.remember([("/d/a", OLD, FACTS)])
        index.forget(["/d/a"])
        assert index.below(Path("/d")) == {}


def test_table_of_another_kind_stops_nothing(index: StatIndex) -> None:
    """A newer cnncli would use another name for it, but who knows."""
    index.path.parent.mkdir()
    with closing(sqlite3.connect(index.path)) as table, table:
        table.execute("CREATE TABLE images_3 (other TEXT)")
    index.remember([("/d/a", OLD, FACTS)])
    assert index.below(Path("/d")) == {}


def test_times_beyond_the_range_of_the_table_stop_nothing(index: StatIndex) -> None:
    """A file from the far future."""
    index.remember([("/d/a", (1, 2**70, -(2**70)), FACTS)])
    index.remember([("/d/a", (1, -(2**70), 5), FACTS)])
    assert index.below(Path("/d")) == {}


def test_default_place_is_the_cache_folder() -> None:
    """Named so that a person knows what it is."""
    assert StatIndex().path == cache_dir() / "images.sqlite"


def test_what_an_older_cnncli_remembered_is_read_anew_and_left_to_it(index: StatIndex) -> None:
    """It knows no thumbnails; its table stays in the same file."""
    index.path.parent.mkdir()
    with closing(sqlite3.connect(index.path)) as table, table:
        table.execute("CREATE TABLE images_1 (path BLOB PRIMARY KEY, digest TEXT)")
        table.execute("INSERT INTO images_1 VALUES (?, 'x')", (b"/d/a",))
    assert index.below(Path("/d")) == {}
    index.remember([("/d/a", OLD, FACTS)])
    assert index.below(Path("/d")) == {"/d/a": (OLD, FACTS)}
    with closing(sqlite3.connect(index.path)) as table:
        assert table.execute("SELECT * FROM images_1").fetchall() == [(b"/d/a", "x")]


@pytest.mark.parametrize("blob", [b"too short", "text", 5, None])
def test_thumbnails_of_another_kind_are_ignored(index: StatIndex, blob: object) -> None:
    """The images are read anew."""
    index.remember([("/d/a", OLD, FACTS), ("/d/b", OLD, FACTS)])
    with closing(sqlite3.connect(index.path)) as table, table:
        table.execute("UPDATE images_3 SET thumbnail = ? WHERE path = ?", (blob, b"/d/a"))
    assert list(index.below(Path("/d"))) == ["/d/b"]


def test_thumbnails_come_back(index: StatIndex) -> None:
    """Byte for byte."""
    facts = ImageFacts("ab" * 32, 100, 4, 3, "JPEG", "RGB", thumbnail=bytes(range(256)) + bytes(32))
    index.remember([("/d/a", OLD, facts)])
    assert index.below(Path("/d")) == {"/d/a": (OLD, facts)}
