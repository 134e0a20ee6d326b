"""Rows are written to disk as they come, and appear together or not at all."""

from __future__ import annotations

import errno
import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from cnncli.errors import CacheError
from cnncli.features import writer as writer_module
from cnncli.features.store import FeatureStore
from tests.features.storing import KEY, OTHER, digests_of, features_of, kill, remains_in, segments_in, start, wait_for


def test_rows_appear_when_the_segment_is_closed(tmp_path: Path) -> None:
    """Batches go to one segment, which is not found before it is complete."""
    store, reader = FeatureStore(tmp_path), FeatureStore(tmp_path)
    with store.writer(KEY) as writer:
        for first in (0, 3, 6):
            writer.add(digests_of(3, first), features_of(3, first))
            assert len(writer) == first + 3
            assert writer.size_bytes == (first + 3) * 20
            assert reader.missing(KEY, digests_of(9)) == digests_of(9)

    assert len(segments_in(tmp_path)) == 1
    got = reader.read(KEY, digests_of(9)).rows(np.arange(9))
    assert all((mine == theirs).all() for mine, theirs in zip(got, features_of(9), strict=True))


def test_memory_holds_no_rows(tmp_path: Path) -> None:
    """A segment may be larger than the memory: 64 batches take less of it than one of them."""
    store, batch = FeatureStore(tmp_path), np.zeros((32, 2500), np.float32)
    with store.writer(KEY) as writer:
        writer.add(digests_of(32), [batch])
        tracemalloc.start()
        for number in range(1, 65):
            writer.add(digests_of(32, 32 * number), [batch])
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert held < batch.nbytes / 2
    assert peak < batch.nbytes


def test_an_exception_discards_the_segment(tmp_path: Path) -> None:
    """Nothing of it is found afterwards."""
    store = FeatureStore(tmp_path)

    def fail_half_way() -> None:
        with store.writer(KEY) as writer:
            writer.add(digests_of(3), features_of(3))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert segments_in(tmp_path) == remains_in(tmp_path) == []
    assert store.missing(KEY, digests_of(3)) == digests_of(3)


def test_closing_keeps_the_rows(tmp_path: Path) -> None:
    """An interrupted extraction closes its segment; closing twice changes nothing."""
    store = FeatureStore(tmp_path)
    writer = store.writer(KEY)
    writer.add(digests_of(3), features_of(3))
    writer.close()
    writer.close()

    assert len(segments_in(tmp_path)) == 1
    assert store.missing(KEY, digests_of(4)) == digests_of(4)[3:]


def test_there_is_no_segment_without_rows(tmp_path: Path) -> None:
    """Without rows, nothing is written."""
    with FeatureStore(tmp_path).writer(KEY) as writer:
        writer.add([], [np.zeros((0, 4))])

    assert segments_in(tmp_path) == remains_in(tmp_path) == []


def test_an_interrupted_batch_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may come between two of its rows; earlier batches are kept."""
    store = FeatureStore(tmp_path)
    writer = store.writer(KEY)
    writer.add(digests_of(3), features_of(3))
    plain = writer_module.write_all

    def interrupted(file: object, data: memoryview) -> None:
        plain(file, data[: len(data) // 2])  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(writer_module, "write_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.add(digests_of(3, 3), features_of(3, 3))
    writer.close()

    assert FeatureStore(tmp_path).missing(KEY, digests_of(6)) == digests_of(6)[3:]


class _InterruptAt:
    """A trace that raises KeyboardInterrupt before the n-th line of `add` and of what it calls in its module."""

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, frame: FrameType, event: str, _: object) -> _InterruptAt | None:
        if frame.f_code.co_filename != writer_module.__file__:
            return None
        if event == "line":
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return self


def test_an_interruption_at_any_line_keeps_earlier_batches(tmp_path: Path) -> None:
    """The batch itself is either missing or complete."""
    trace = sys.gettrace()
    for line in range(200):
        store, interrupt = tmp_path / str(line), _InterruptAt(line)
        writer = FeatureStore(store).writer(KEY)
        writer.add(digests_of(3), features_of(3))
        sys.settrace(interrupt)
        try:
            writer.add(digests_of(3, 3), features_of(3, 3))
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(trace)
        writer.close()

        assert FeatureStore(store).missing(KEY, digests_of(6)) in (digests_of(6)[3:], []), line
        if interrupt.left >= 0:
            break
    assert 10 < line < 199


@pytest.mark.parametrize(
    ("digests", "arrays"),
    [
        (digests_of(2), [np.zeros((3, 4), np.float32), np.zeros((3, 2, 2), np.uint8)]),
        (digests_of(3), [np.zeros((3, 5), np.float32), np.zeros((3, 2, 2), np.uint8)]),
        (digests_of(3), [np.zeros((3, 4)), np.zeros((3, 2, 2), np.uint8)]),
        (digests_of(3), [np.zeros((3, 4), np.float32)]),
        (digests_of(3), []),
    ],
    ids=["count", "shape", "dtype", "one tensor less", "none"],
)
def test_rows_of_another_form_are_refused(tmp_path: Path, digests: list[str], arrays: list[np.ndarray]) -> None:
    """All rows of a segment have the shapes and dtypes of the first, and a digest each."""
    with FeatureStore(tmp_path).writer(KEY) as writer:
        writer.add(digests_of(1, 9), features_of(1))
        with pytest.raises(ValueError, match="rows"):
            writer.add(digests, arrays)

    assert FeatureStore(tmp_path).missing(KEY, digests_of(1, 9)) == []


def test_nothing_is_added_to_a_closed_segment(tmp_path: Path) -> None:
    """A closed segment never changes."""
    writer = FeatureStore(tmp_path).writer(KEY)
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.add(digests_of(1), features_of(1))


def test_the_index_is_readable(tmp_path: Path) -> None:
    """It describes the segment, and the key has a description of its own."""
    FeatureStore(tmp_path).write(KEY, digests_of(3), features_of(3))
    (segment,) = segments_in(tmp_path)
    index = json.loads((segment / "index.json").read_text())

    assert index["rows"] == 3
    assert index["tensors"] == [{"shape": [4], "dtype": "float32"}, {"shape": [2, 2], "dtype": "uint8"}]
    assert index["digests"] == "".join(digests_of(3))
    assert json.loads((tmp_path / KEY.name / "recipe.json").read_text()) == {"recipe": dict(KEY.recipe), "facts": {}}


MID_ADD = """
writer = store.writer(KEY)
writer.add(digests_of(3), features_of(3))
print("added", flush=True)
while True:
    writer.add(digests_of(3, len(writer)), features_of(3, len(writer)))
    time.sleep(0.001)
"""


def test_a_killed_writer_leaves_the_cache_usable(tmp_path: Path) -> None:
    """Its temporary folder is never read; it stays while the process lives, and the next one deletes it."""
    FeatureStore(tmp_path).write(KEY, digests_of(1), features_of(1))
    process = start(tmp_path, MID_ADD)
    try:
        wait_for(process, "added")
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
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", range(6))
def test_a_crash_at_any_step_of_closing_leaves_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The crash comes before each of the writes to disk, and after the last."""
    steps = []
    doomed = FeatureStore(tmp_path)
    writer = doomed.writer(KEY)
    writer.add(digests_of(3), features_of(3))

    def crashing(plain: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any) -> Any:
            steps.append(plain)
            if len(steps) > step:
                raise _Crash
            return plain(*arguments)

        return act

    with monkeypatch.context() as crash:
        crash.setattr(writer, "discard", lambda: None)  # a killed process cleans nothing up
        crash.setattr(writer_module, "sync_file", crashing(writer_module.sync_file))
        crash.setattr(writer_module, "sync_folder", crashing(writer_module.sync_folder))
        crash.setattr(Path, "rename", crashing(Path.rename))
        crash.setattr(writer, "_keep", crashing(writer._keep))
        with pytest.raises(_Crash):
            writer.close()
    doomed.close()
    store = FeatureStore(tmp_path)

    assert store.missing(KEY, digests_of(3)) == ([] if step > 3 else digests_of(3))
    assert remains_in(tmp_path) == []
    store.write(KEY, digests_of(3), features_of(3))
    assert store.read(KEY, digests_of(3)).rows(np.arange(3))[0][:, 0].tolist() == [0, 1, 2]


def test_an_open_segment_survives_a_search(tmp_path: Path) -> None:
    """Temporary folders of running processes are not deleted, those of this process included."""
    store = FeatureStore(tmp_path)
    store.write(KEY, digests_of(1), features_of(1))
    with store.writer(KEY) as writer:
        writer.add(digests_of(2, 1), features_of(2, 1))
        (segments_in(tmp_path)[0] / "rows.bin").write_bytes(b"damaged")
        assert FeatureStore(tmp_path).missing(KEY, digests_of(3)) == digests_of(3)
        store.missing(KEY, digests_of(3))

    assert FeatureStore(tmp_path).missing(KEY, digests_of(3)) == digests_of(3)[:1]


def _failing(
    times: int, number: int = errno.ENOSPC, words: str = "it is full", after: int = 0
) -> Callable[[object, memoryview], None]:
    """Return a `write_all` that writes half and fails, `times` times from the call `after` on."""
    calls = []
    plain = writer_module.write_all

    def write(file: object, data: memoryview) -> None:
        calls.append(1)
        if after < len(calls) <= after + times:
            plain(file, data[: len(data) // 2])  # type: ignore[arg-type]
            raise OSError(number, words)
        plain(file, data)  # type: ignore[arg-type]

    return write


def test_a_full_disk_causes_an_eviction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that are not in use are deleted, and the batch is written."""
    FeatureStore(tmp_path).write(OTHER, digests_of(5), features_of(5))
    store = FeatureStore(tmp_path)
    monkeypatch.setattr(writer_module, "write_all", _failing(1, after=1))
    with store.writer(KEY) as writer:
        for first in (0, 3, 6):
            writer.add(digests_of(3, first), features_of(3, first))

    got = FeatureStore(tmp_path).read(KEY, digests_of(9)).rows(np.arange(9))
    assert all((mine == theirs).all() for mine, theirs in zip(got, features_of(9), strict=True))
    assert store.missing(OTHER, digests_of(5)) == digests_of(5)


@pytest.mark.parametrize("others", [True, False], ids=["eviction does not help", "nothing to evict"])
def test_a_disk_that_stays_full_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: bool) -> None:
    """No partial segment is left, and the cache is usable."""
    if others:
        FeatureStore(tmp_path).write(OTHER, digests_of(5), features_of(5))
    store = FeatureStore(tmp_path)
    writer = store.writer(KEY)
    writer.add(digests_of(3), features_of(3))
    with monkeypatch.context() as full:
        full.setattr(writer_module, "write_all", _failing(2))
        with pytest.raises(CacheError) as caught:
            writer.add(digests_of(3, 3), features_of(3, 3))
    writer.close()

    assert caught.value.codes == ("cache-disk-full",)
    assert (caught.value.facts["path"], caught.value.facts["reason"]) == (tmp_path / KEY.name, "it is full")
    assert segments_in(tmp_path) == remains_in(tmp_path) == []
    store.write(KEY, digests_of(3), features_of(3))
    assert store.missing(KEY, digests_of(3)) == []


@pytest.mark.parametrize("name", ["sync_file", "sync_folder"])
def test_a_disk_that_fills_up_at_the_end_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Some file systems report only then that there was no space."""

    def full(_: Path) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    store = FeatureStore(tmp_path)
    writer = store.writer(KEY)
    writer.add(digests_of(3), features_of(3))
    monkeypatch.setattr(writer_module, name, full)
    with pytest.raises(CacheError) as caught:
        writer.close()

    assert (caught.value.code, caught.value.facts["reason"]) == ("cache-disk-full", "Disk quota exceeded")
    assert remains_in(tmp_path) == []


def test_a_failing_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is evicted."""
    FeatureStore(tmp_path).write(OTHER, digests_of(5), features_of(5))
    monkeypatch.setattr(writer_module, "write_all", _failing(1, errno.EIO, "Input/output error"))
    with pytest.raises(CacheError) as caught:
        FeatureStore(tmp_path).write(KEY, digests_of(3), features_of(3))

    assert caught.value.codes == ("cache-not-writable",)
    assert (caught.value.facts["path"], caught.value.facts["reason"]) == (tmp_path / KEY.name, "Input/output error")
    assert FeatureStore(tmp_path).missing(OTHER, digests_of(5)) == []


def test_a_file_in_place_of_the_cache_is_an_error(tmp_path: Path) -> None:
    """The error names the path."""
    (tmp_path / "store").write_text("")
    with pytest.raises(CacheError) as caught:
        FeatureStore(tmp_path / "store").write(KEY, digests_of(3), features_of(3))

    assert caught.value.code == "cache-not-writable"
    assert str(caught.value.facts["path"]).startswith(str(tmp_path / "store"))
