"""Writing segments, completely or not at all, even if the writer is interrupted."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.errors import CacheError
from cnncli.features import segments as module
from cnncli.features.store import FeatureStore
from tests.features.storing import KEY, OTHER, digests_of, features_of, kill, remains_in, segments_in, start, wait_for


@pytest.mark.parametrize(
    "arrays",
    [[np.zeros((3, 4), np.float32)], [np.zeros((2, 4)), np.zeros((3, 2, 2))], []],
    ids=["count", "count of one tensor", "none"],
)
def test_features_without_a_digest_per_row_are_refused(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    """Features whose number of rows differs from the number of digests are refused."""
    with pytest.raises(ValueError, match="rows"):
        FeatureStore(tmp_path).write(KEY, digests_of(2), arrays)


def test_the_index_describes_the_segment(tmp_path: Path) -> None:
    """A segment has a JSON index with its rows, tensors and digests, and its key has a JSON description."""
    FeatureStore(tmp_path).write(KEY, digests_of(3), features_of(3))
    (segment,) = segments_in(tmp_path)
    index = json.loads((segment / "index.json").read_text())

    assert index["rows"] == 3
    assert index["tensors"] == [{"shape": [4], "dtype": "float32"}, {"shape": [2, 2], "dtype": "uint8"}]
    assert index["digests"] == "".join(digests_of(3))
    assert json.loads((tmp_path / KEY.name / "recipe.json").read_text()) == {"recipe": dict(KEY.recipe), "facts": {}}


def test_rows_are_stored_in_order(tmp_path: Path) -> None:
    """Rows are stored in order, with the tensors of each row side by side, as in earlier versions."""
    FeatureStore(tmp_path).write(KEY, digests_of(3), features_of(3))
    (segment,) = segments_in(tmp_path)
    wide, narrow = features_of(3)

    rows = (wide[number].tobytes() + narrow[number].tobytes() for number in range(3))
    assert (segment / "rows.bin").read_bytes() == b"".join(rows)


KILLED = """
from cnncli.features import segments
def stay(path):
    print("half", flush=True)
    time.sleep(60)
segments.sync_file = stay
store.write(KEY, digests_of(3), features_of(3))
"""


def test_a_killed_writer_leaves_the_cache_usable(tmp_path: Path) -> None:
    """The temporary folder of a writer is never read; after the writer is killed, the next process deletes it."""
    FeatureStore(tmp_path).write(KEY, digests_of(1), features_of(1))
    process = start(tmp_path, KILLED)
    try:
        wait_for(process, "half")
        assert FeatureStore(tmp_path).missing(KEY, digests_of(3)) == digests_of(3)[1:]
        assert len(remains_in(tmp_path)) == 1
    finally:
        kill(process)
    assert len(remains_in(tmp_path)) == 1
    store = FeatureStore(tmp_path)

    assert store.missing(KEY, digests_of(3)) == digests_of(3)[1:]
    assert remains_in(tmp_path) == []
    store.write(KEY, digests_of(3), features_of(3))
    assert store.read(KEY, digests_of(3)).rows(np.arange(3))[0][:, 0].tolist() == [0, 1, 2]


class _Crash(BaseException):
    """A crash of the process, or Ctrl-C."""


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "interrupted"])
@pytest.mark.parametrize("step", range(7))
def test_a_crash_at_any_step_leaves_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, is_killed: bool
) -> None:
    """A crash before any step of writing leaves either the whole segment or none, and the cache remains usable."""
    steps = []
    doomed = FeatureStore(tmp_path)
    doomed.write(KEY, digests_of(1, 9), features_of(1, 9))

    def crashing(plain: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any) -> Any:
            steps.append(plain)
            if len(steps) > step:
                raise _Crash
            return plain(*arguments)

        return act

    with doomed, monkeypatch.context() as crash:
        if is_killed:
            crash.setattr(shutil, "rmtree", lambda *_, **__: None)
        crash.setattr(module, "sync_file", crashing(module.sync_file))
        crash.setattr(module, "sync_folder", crashing(module.sync_folder))
        crash.setattr(Path, "write_bytes", crashing(Path.write_bytes))
        crash.setattr(Path, "rename", crashing(Path.rename))
        with pytest.raises(_Crash):
            doomed.write(KEY, digests_of(3), features_of(3))
        assert len(remains_in(tmp_path)) == (is_killed and step < 6)
    store = FeatureStore(tmp_path)

    assert store.missing(KEY, digests_of(3)) == ([] if step == 6 else digests_of(3))
    assert remains_in(tmp_path) == []
    store.write(KEY, digests_of(3), features_of(3))
    assert store.read(KEY, digests_of(3)).rows(np.arange(3))[0][:, 0].tolist() == [0, 1, 2]


def _failing(times: int, number: int = errno.ENOSPC, reason: str = "it is full") -> Callable[[Path, Any], object]:
    """Return a replacement for `Path.write_bytes` that fails `times` times after writing half of the rows."""
    calls = []
    plain = Path.write_bytes

    def write(path: Path, data: memoryview) -> object:
        if path.name != "rows.bin":
            return plain(path, data)
        calls.append(1)
        if len(calls) <= times:
            plain(path, data[: len(data) // 2])
            raise OSError(number, reason)
        return plain(path, data)

    return write


def test_a_full_disk_causes_an_eviction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full, keys that are not in use are evicted, and the segment is written."""
    FeatureStore(tmp_path).write(OTHER, digests_of(5), features_of(5))
    store = FeatureStore(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", _failing(1))
    store.write(KEY, digests_of(9), features_of(9))

    got = FeatureStore(tmp_path).read(KEY, digests_of(9)).rows(np.arange(9))
    assert all((mine == theirs).all() for mine, theirs in zip(got, features_of(9), strict=True))
    assert store.missing(OTHER, digests_of(5)) == digests_of(5)
    assert remains_in(tmp_path) == []


@pytest.mark.parametrize("others", [True, False], ids=["eviction does not help", "nothing to evict"])
def test_a_disk_that_stays_full_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: bool) -> None:
    """If the disk stays full, an error is raised, no partial segment is left, and the cache remains usable."""
    if others:
        FeatureStore(tmp_path).write(OTHER, digests_of(5), features_of(5))
    store = FeatureStore(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", _failing(2))
        with pytest.raises(CacheError) as caught:
            store.write(KEY, digests_of(3), features_of(3))

    assert caught.value.codes == ("cache-disk-full",)
    assert (caught.value.facts["path"], caught.value.facts["reason"]) == (tmp_path / KEY.name, "it is full")
    assert segments_in(tmp_path) == remains_in(tmp_path) == []
    store.write(KEY, digests_of(3), features_of(3))
    assert store.missing(KEY, digests_of(3)) == []


@pytest.mark.parametrize("name", ["sync_file", "sync_folder"])
def test_a_disk_that_fills_up_at_the_end_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A full disk that is reported only when files are synchronized raises the same error."""

    def full(_: Path) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(module, name, full)
    with pytest.raises(CacheError) as caught:
        FeatureStore(tmp_path).write(KEY, digests_of(3), features_of(3))

    assert (caught.value.code, caught.value.facts["reason"]) == ("cache-disk-full", "Disk quota exceeded")
    assert remains_in(tmp_path) == []


def test_a_failing_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An input/output error while writing raises an error and does not evict any keys."""
    FeatureStore(tmp_path).write(OTHER, digests_of(5), features_of(5))
    monkeypatch.setattr(Path, "write_bytes", _failing(1, errno.EIO, "Input/output error"))
    with pytest.raises(CacheError) as caught:
        FeatureStore(tmp_path).write(KEY, digests_of(3), features_of(3))

    assert caught.value.codes == ("cache-not-writable",)
    assert (caught.value.facts["path"], caught.value.facts["reason"]) == (tmp_path / KEY.name, "Input/output error")
    assert FeatureStore(tmp_path).missing(OTHER, digests_of(5)) == []


def test_a_file_in_place_of_the_cache_is_an_error(tmp_path: Path) -> None:
    """If a file is in place of the cache folder, writing raises an error with its path."""
    (tmp_path / "store").write_text("")
    with pytest.raises(CacheError) as caught:
        FeatureStore(tmp_path / "store").write(KEY, digests_of(3), features_of(3))

    assert caught.value.code == "cache-not-writable"
    assert str(caught.value.facts["path"]).startswith(str(tmp_path / "store"))
