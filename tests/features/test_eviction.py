"""The store stays below its cap; what is in use stays in the store."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from cnncli.features.eviction import Space, default_cap, evict, stored_segments
from cnncli.features.layout import INDEX
from cnncli.features.store import FeatureKey, FeatureStore
from cnncli.terminal.formatting import size
from tests.features.storing import KEY, OTHER, digests_of, features_of, kill, remains_in, segments_in, start, wait_for

NOW = time.time()


def _key(number: int) -> FeatureKey:
    return FeatureKey({"trunk": str(number), "view": {}})


def _fill(store: Path, *numbers: int) -> int:
    """A segment of one key for each number, which was used that many hours ago; gives the size of one."""
    for number in numbers:
        with FeatureStore(store) as opened:
            opened.write(_key(number), digests_of(50), features_of(50))
        (segment,) = segments_in(store, _key(number))
        os.utime(segment / INDEX, (NOW - 3600 * number, NOW - 3600 * number))
    return stored_segments(store)[0].size_bytes


def _held(store: Path, *numbers: int) -> list[int]:
    return [number for number in numbers if (store / _key(number).name).exists()]


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    """As much as is necessary, a whole segment at a time, its key with the last one."""
    one = _fill(tmp_path, 3, 1, 4, 2)

    assert evict(tmp_path, 4 * one).freed_bytes == 0
    assert evict(tmp_path, 3 * one - 1).freed_bytes == 2 * one
    assert _held(tmp_path, 1, 2, 3, 4) == [1, 2]


def test_reading_is_using(tmp_path: Path) -> None:
    """Features that were read just now stay longer than those that were written later."""
    one = _fill(tmp_path, 1, 2, 3)
    with FeatureStore(tmp_path) as store:
        store.read(_key(3), digests_of(2))
    evict(tmp_path, one)

    assert _held(tmp_path, 1, 2, 3) == [3]


def test_looking_is_not_using(tmp_path: Path) -> None:
    """Asking what is missing changes no order."""
    one = _fill(tmp_path, 1, 2)
    with FeatureStore(tmp_path) as store:
        store.missing(_key(2), digests_of(2))
    evict(tmp_path, one)

    assert _held(tmp_path, 1, 2) == [1]


def test_a_writer_keeps_the_store_below_its_cap(tmp_path: Path) -> None:
    """Each segment that is one too many drives out an old one, of whatever process."""
    one = _fill(tmp_path, 8, 9)
    said: list[str] = []
    for number in range(5):
        with FeatureStore(tmp_path, max_bytes=4 * one, warn=said.append) as store:
            store.write(_key(number), digests_of(50), features_of(50))
        assert sum(segment.size_bytes for segment in stored_segments(tmp_path)) <= 4 * one

    assert _held(tmp_path, 0, 1, 2, 3, 4, 8, 9) == [1, 2, 3, 4]
    assert said == []


def test_what_a_living_run_uses_stays(tmp_path: Path) -> None:
    """Though it was used long ago, until that process ends, and be it killed."""
    _fill(tmp_path, 1, 2)
    process = start(
        tmp_path,
        "store.missing(FeatureKey({'trunk': '2', 'view': {}}), []); print('has', flush=True); input()",
    )
    try:
        wait_for(process, "has")
        pinned = evict(tmp_path, 0)
        assert _held(tmp_path, 1, 2) == [2]
        assert 0 < pinned.pinned_bytes == pinned.held_bytes
    finally:
        kill(process)

    assert evict(tmp_path, 0).held_bytes == 0
    assert _held(tmp_path, 1, 2) == []


def test_features_in_hand_stay(tmp_path: Path) -> None:
    """As long as there is something to read them with; the store that gave them need not be there."""
    _fill(tmp_path, 1)
    features = FeatureStore(tmp_path).read(_key(1), digests_of(50))

    assert evict(tmp_path, 0).freed_bytes == 0
    assert features.rows(np.array([49]))[0][0, 0] == 49
    del features
    assert evict(tmp_path, 0).held_bytes == 0


def test_more_in_use_than_the_cap_is_one_warning(tmp_path: Path) -> None:
    """And no failure: the training goes on with what it needs."""
    said: list[str] = []
    with FeatureStore(tmp_path, max_bytes=1000, warn=said.append) as store:
        for first in (0, 50, 100):
            store.write(KEY, digests_of(50, first), features_of(50, first))

        assert store.missing(KEY, digests_of(150)) == []
        first = stored_segments(tmp_path)[0].size_bytes
        assert said == [f"stored features in use take {size(first)}, more than the cap of 1.0 kB"]


def test_what_was_in_use_goes_down_to_the_cap_at_the_end(tmp_path: Path) -> None:
    """Although nothing was written; and it is said how much that was, with what went before."""
    one = _fill(tmp_path, 1, 2, 3)
    said: list[str] = []
    with FeatureStore(tmp_path, max_bytes=one, say=said.append) as store:
        store.read(_key(3), digests_of(50))
        store.read(_key(2), digests_of(50))
        assert _held(tmp_path, 1, 2, 3) == [1, 2, 3]

    assert _held(tmp_path, 1, 2, 3) == [2]
    assert said == [f"to keep to the cap of {size(one)}, {size(2 * one)} of stored features were removed"]


def test_what_had_to_go_for_new_features_is_told_once(tmp_path: Path) -> None:
    """At the end, all of it together; where nothing had to go, nothing is said."""
    one = _fill(tmp_path, 1, 2)
    said: list[str] = []
    with FeatureStore(tmp_path, max_bytes=2 * one, say=said.append) as store:
        for number in (3, 4):
            store.write(_key(number), digests_of(50), features_of(50))
        assert said == []
    with FeatureStore(tmp_path, max_bytes=2 * one, say=said.append) as store:
        store.read(_key(3), digests_of(50))

    assert said == [f"to keep to the cap of {size(2 * one)}, {size(2 * one)} of stored features were removed"]


def test_a_closed_store_uses_nothing(tmp_path: Path) -> None:
    """Leaving the block closes it."""
    with FeatureStore(tmp_path) as store:
        store.write(KEY, digests_of(50), features_of(50))
        assert evict(tmp_path, 0).freed_bytes == 0

    assert evict(tmp_path, 0).held_bytes == 0


def test_an_eviction_leaves_nothing_of_a_key(tmp_path: Path) -> None:
    """Neither what a killed process was writing, nor what one was deleting, nor an empty folder."""
    _fill(tmp_path, 1)
    (tmp_path / _key(1).name / ".half").mkdir()
    (tmp_path / ".half").mkdir()
    (tmp_path / "empty").mkdir()
    evict(tmp_path, 10**9)
    assert remains_in(tmp_path, _key(1)) == []
    evict(tmp_path, 0)

    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_what_was_used_since_stays(tmp_path: Path) -> None:
    """`used_before` is a moment; what is younger stays whatever may be kept."""
    one = _fill(tmp_path, 1, 2, 3)

    assert evict(tmp_path, 0, used_before=NOW - 1.5 * 3600).freed_bytes == 2 * one
    assert _held(tmp_path, 1, 2, 3) == [1]


def test_a_store_that_is_not_there_has_nothing_to_evict(tmp_path: Path) -> None:
    """And does not appear by the attempt."""
    assert evict(tmp_path / "store", 0).freed_bytes == 0
    assert not (tmp_path / "store").exists()


def test_the_usual_cap_is_half_of_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free disk and what the store holds already, so that it does not shrink by its own growth."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1000, 400, 600))

    assert default_cap(tmp_path, 0) == 300
    assert default_cap(tmp_path / "not" / "there", 400) == 500


def test_the_usual_cap_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that others fill makes the store smaller."""
    one = _fill(tmp_path, 1, 2, 3)
    monkeypatch.setattr("cnncli.features.eviction.default_cap", lambda *_: 2 * one)
    with FeatureStore(tmp_path) as store:
        store.write(OTHER, digests_of(50), features_of(50))

    assert _held(tmp_path, 1, 2, 3) == [1]


def test_a_segment_that_goes_at_once_takes_nothing(tmp_path: Path) -> None:
    """Whoever deletes the cache by hand may be as fast."""
    space = Space(tmp_path, 10**6, print, print)
    space.grew(tmp_path / "key" / "one")
    space.grew(tmp_path / "key" / "another")

    assert not list(tmp_path.iterdir())
