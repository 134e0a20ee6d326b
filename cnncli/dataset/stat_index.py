"""Index of known images: facts about files by their stat, so that unchanged files are not read again.

The index is a SQLite file in the cache directory and only saves time: if it is locked, read-only, damaged or of a
different format, it is not used.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

import PIL

from cnncli.errors import Message, reason_of
from cnncli.images.thumbnail import THUMBNAIL_BYTES, THUMBNAIL_VERSION
from cnncli.images.verify import ImageFacts
from cnncli.shards.files import FileKey
from cnncli.shards.shard import place_key
from cnncli.storage.atomic import touch
from cnncli.storage.cache_dir import cache_dir, warn_of_damage

Result = TypeVar("Result")
StatKey = FileKey
"""Size of the file in bytes, and the times of the last change of content and inode in nanoseconds.

For an image in a shard, those of the shard; for remote shards, see `shards.files.file_key`.
"""

# Other versions of Pillow may refuse different files. Change the text when cnncli does.
_MADE_BY = f"Pillow {PIL.__version__}, PNG by its sums, ten formats, thumbnail {THUMBNAIL_VERSION}"
_WAIT_S = 2.0
# A file that changes twice within one tick of its file system's clock looks unchanged the second time, so files that
# young are not remembered (git calls such entries racy). Times in whole seconds indicate a clock that counts seconds.
_FINE_TICK_NS, _COARSE_TICK_NS = 50_000_000, 2_000_000_000
# The name of the table changes with its columns, so that other versions of cnncli can use the same file.
_CREATE = """CREATE TABLE IF NOT EXISTS images_4 (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, made_by TEXT,
    digest TEXT, size_bytes INTEGER, width INTEGER, height INTEGER, format TEXT, mode TEXT, problem TEXT, code TEXT,
    peak INTEGER, thumbnail BLOB
) WITHOUT ROWID"""
_SELECT = """SELECT path, size, mtime_ns, ctime_ns, digest, size_bytes, width, height, format, mode,
    coalesce(problem, ''), coalesce(code, ''), peak, thumbnail FROM images_4
    WHERE path >= ? AND path < ? AND made_by = ? ORDER BY path LIMIT ?"""
_PAGE = 1_000  # rows read at a time
_TYPES = (int, int, int, str, int, int, int, str, str, str, str, int, bytes)
_INSERT = "INSERT OR REPLACE INTO images_4 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM images_4 WHERE path = ?"


def stat_key(path: Path) -> StatKey | None:
    """Return a key that changes with the file, or None for a file whose problem is found by reading it."""
    try:
        return place_key(path)
    except OSError:
        return None


class StatIndex:
    """Table of path → (stat, facts). Its methods do not raise if the file is unusable."""

    def __init__(self, path: Path | None = None, bands: int | None = None) -> None:
        """Use the file at `path`; default: `images.sqlite` in the cache directory.

        The facts of images with `bands` bands are separate from all others.
        """
        self.path = path or cache_dir() / "images.sqlite"
        self._bands = bands

    @property
    def _made_by(self) -> str:
        return _MADE_BY if self._bands is None else f"{_MADE_BY}, {self._bands} bands"

    def below(self, folder: Path) -> Iterator[tuple[str, StatKey, ImageFacts]]:
        """Yield the entries of files below a folder, of which there can be millions, by path."""
        path = os.fsencode(folder).rstrip(os.fsencode(os.sep))
        start, end = path + os.fsencode(os.sep), path + bytes([ord(os.sep) + 1])
        while rows := self._select(start, end):
            for row in rows:
                if entry := _entry_of(row[1:]):
                    yield os.fsdecode(row[0]), *entry
            start = rows[-1][0] + b"\0"
        touch(self.path)  # reading counts as use for `cache clear --older-than`

    def _select(self, start: bytes, end: bytes) -> list[tuple[Any, ...]] | None:
        values = start, end, self._made_by, _PAGE
        return self._with_table(lambda table: table.execute(_SELECT, values).fetchall())

    def remember(self, found: Iterable[tuple[str, StatKey, ImageFacts]]) -> None:
        """Add or replace entries, except for transient problems and files that changed a moment ago."""
        now_ns = time.time_ns()
        rows = [
            (os.fsencode(path), *key, self._made_by, *_columns(facts))
            for path, key, facts in found
            if not facts.is_transient and _is_settled(key, now_ns)
        ]
        if rows:
            self._with_table(lambda table: table.executemany(_INSERT, rows))

    def forget(self, paths: Iterable[str]) -> None:
        """Delete the entries of files."""
        if rows := [(os.fsencode(path),) for path in paths]:
            self._with_table(lambda table: table.executemany(_DELETE, rows))

    def _with_table(self, work: Callable[[sqlite3.Connection], Result]) -> Result | None:
        for _ in range(2):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with closing(sqlite3.connect(self.path, timeout=_WAIT_S)) as table, table:
                    table.execute(_CREATE)
                    return work(table)
            except (sqlite3.OperationalError, OSError, OverflowError):
                return None  # locked, read-only, no folder, or times beyond the range of SQLite
            except sqlite3.DatabaseError as error:
                warn_of_damage(self.path, reason_of(error))
                with suppress(OSError):
                    self.path.unlink()  # damaged; only time is lost
        return None


def _is_settled(key: StatKey, now_ns: int) -> bool:
    _, mtime_ns, ctime_ns = key
    tick_ns = _COARSE_TICK_NS if mtime_ns % 1_000_000_000 == 0 else _FINE_TICK_NS
    return now_ns - max(mtime_ns, ctime_ns) > tick_ns


def _columns(facts: ImageFacts) -> tuple[str | int | bytes | None, ...]:
    problem = (facts.problem, facts.problem.code) if facts.problem is not None else (None, None)
    size = (facts.size_bytes, facts.width, facts.height)
    return (facts.digest, *size, facts.format, facts.mode, *problem, facts.peak, facts.thumbnail)


def _entry_of(row: Sequence[Any]) -> tuple[StatKey, ImageFacts] | None:
    """Return the entry in a row, or None if its values have other types; SQLite accepts any value in any column."""
    if tuple(map(type, row)) != _TYPES or len(row[-1]) not in (0, THUMBNAIL_BYTES):
        return None
    size, mtime_ns, ctime_ns, digest, size_bytes, width, height, kind, mode, problem, code, peak, thumbnail = row
    message = Message(code or "image-unusable", problem) if problem else None
    kind, mode = sys.intern(kind), sys.intern(mode)  # a million images have few different ones
    facts = ImageFacts(digest, size_bytes, width, height, kind, mode, message, thumbnail=thumbnail, peak=peak)
    return (size, mtime_ns, ctime_ns), facts
