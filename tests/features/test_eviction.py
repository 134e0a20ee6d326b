"""Evicting keys from the cache to stay below its cap, without deleting keys in use."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from cnncli.features.eviction import default_cap, evict, stored_keys
from cnncli.features.segments import DESCRIPTION
from cnncli.features.store import FeatureKey, FeatureStore
from tests.features.storing import KEY, OTHER, digests_of, features_of, kill, remains_in, start, wait_for

NOW = time.time()


def _key(number: int) -> FeatureKey:
    return FeatureKey({"trunk": str(number), "view": {}})


def _fill(store: Path, *numbers: int) -> int:
    """Write a key for each number, last used that many hours ago, and return the size of one key in bytes."""
    for number in numbers:
        with FeatureStore(store) as opened:
            opened.write(_key(number), digests_of(50), features_of(50))
        os.utime(store / _key(number).name / DESCRIPTION, (NOW - 3600 * number, NOW - 3600 * number))
    return stored_keys(store)[0].size_bytes


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Return `caplog` with all messages of the feature cache enabled."""
    caplog.set_level("DEBUG", "cnncli.features")
    return caplog


def _facts(log: pytest.LogCaptureFixture) -> list[tuple[str, object, object]]:
    """Return the code, the received size and the expected size of each logged message."""
    messages = [record.msg for record in log.records if record.name.startswith("cnncli.features")]
    return [(message.code, message.facts["received"], message.facts["expected"]) for message in messages]


def _held(store: Path, *numbers: int) -> list[int]:
    return [number for number in numbers if (store / _key(number).name).exists()]


def test_the_least_recently_used_keys_are_evicted_first(tmp_path: Path) -> None:
    """The least recently used keys are evicted first and as a whole, and no more of them than necessary."""
    one = _fill(tmp_path, 3, 1, 4, 2)

    assert evict(tmp_path, 4 * one).freed_bytes == 0
    assert evict(tmp_path, 3 * one - 1).freed_bytes == 2 * one
    assert _held(tmp_path, 1, 2, 3, 4) == [1, 2]


def test_reading_counts_as_use(tmp_path: Path) -> None:
    """Reading features updates the time of last use, so that their key is evicted later."""
    one = _fill(tmp_path, 1, 2, 3)
    with FeatureStore(tmp_path) as store:
        store.read(_key(3), digests_of(2))
    evict(tmp_path, one)

    assert _held(tmp_path, 1, 2, 3) == [3]


def test_a_search_does_not_count_as_use(tmp_path: Path) -> None:
    """Searching for missing features does not update the time of last use."""
    one = _fill(tmp_path, 1, 2)
    with FeatureStore(tmp_path) as store:
        store.missing(_key(2), digests_of(2))
    evict(tmp_path, one)

    assert _held(tmp_path, 1, 2) == [1]


def test_a_writer_keeps_the_cache_below_its_cap(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """Writing a segment that would exceed the cap evicts old keys."""
    one = _fill(tmp_path, 8, 9)
    for number in range(5):
        with FeatureStore(tmp_path, max_bytes=4 * one) as store:
            store.write(_key(number), digests_of(50), features_of(50))
        assert sum(key.size_bytes for key in stored_keys(tmp_path)) <= 4 * one

    assert _held(tmp_path, 0, 1, 2, 3, 4, 8, 9) == [1, 2, 3, 4]
    assert {code for code, *_ in _facts(log)} == {"cache-evicted"}


def test_keys_of_a_running_process_are_not_evicted(tmp_path: Path) -> None:
    """Keys that a running process has opened are not evicted until the process ends or is killed."""
    _fill(tmp_path, 1, 2)
    process = start(
        tmp_path,
        "store.missing(FeatureKey({'trunk': '2', 'view': {}}), []); print('has', flush=True); input()",
    )
    try:
        wait_for(process, "has")
        pinned = evict(tmp_path, 0)
        assert _held(tmp_path, 1, 2) == [2]
        assert 0 < pinned.pinned_bytes == stored_keys(tmp_path)[0].size_bytes
    finally:
        kill(process)

    assert evict(tmp_path, 0).pinned_bytes == 0
    assert _held(tmp_path, 1, 2) == []


def test_referenced_features_are_not_evicted(tmp_path: Path) -> None:
    """Features that are still referenced are not evicted, even if their store object was deleted."""
    _fill(tmp_path, 1)
    features = FeatureStore(tmp_path).read(_key(1), digests_of(50))

    assert evict(tmp_path, 0).freed_bytes == 0
    assert features.rows(np.array([49]))[0][0, 0] == 49
    del features
    assert evict(tmp_path, 0).pinned_bytes == 0


def test_exceeding_the_cap_with_keys_in_use_is_one_warning(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """If features in use exceed the cap, one warning is logged and they are kept."""
    with FeatureStore(tmp_path, max_bytes=1000) as store:
        for first in (0, 50, 100):
            store.write(KEY, digests_of(50, first), features_of(50, first))

        assert store.missing(KEY, digests_of(150)) == []
        assert _facts(log) == [("cache-over-cap", stored_keys(tmp_path)[0].size_bytes // 3, 1000)]


def test_the_cap_is_enforced_when_the_cache_is_closed(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """When a cache is closed, its unused keys are evicted down to the cap, and the evicted size is logged."""
    one = _fill(tmp_path, 1, 2, 3)
    with FeatureStore(tmp_path, max_bytes=one) as store:
        store.read(_key(3), digests_of(50))
        store.read(_key(2), digests_of(50))
        assert _held(tmp_path, 1, 2, 3) == [1, 2, 3]

    assert _held(tmp_path, 1, 2, 3) == [2]
    assert _facts(log) == [("cache-evicted", 2 * one, one)]


def test_an_eviction_is_logged_once(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """The total evicted size is logged once, when the cache is closed, and not if nothing was evicted."""
    one = _fill(tmp_path, 1, 2)
    with FeatureStore(tmp_path, max_bytes=2 * one) as store:
        for number in (3, 4):
            store.write(_key(number), digests_of(50), features_of(50))
        assert _facts(log) == []
    with FeatureStore(tmp_path, max_bytes=2 * one) as store:
        store.read(_key(3), digests_of(50))

    assert _facts(log) == [("cache-evicted", 2 * one, 2 * one)]


def test_a_closed_cache_can_be_evicted(tmp_path: Path) -> None:
    """Keys are in use inside the `with` block of a cache and can be evicted after it."""
    with FeatureStore(tmp_path) as store:
        store.write(KEY, digests_of(50), features_of(50))
        assert evict(tmp_path, 0).freed_bytes == 0

    assert evict(tmp_path, 0).pinned_bytes == 0


def test_an_eviction_leaves_nothing_of_a_key(tmp_path: Path) -> None:
    """Eviction also deletes temporary folders of killed processes and empty folders."""
    _fill(tmp_path, 1)
    (tmp_path / _key(1).name / ".half").mkdir()
    (tmp_path / ".half").mkdir()
    (tmp_path / "empty").mkdir()
    evict(tmp_path, 10**9)
    assert remains_in(tmp_path, _key(1)) == []
    evict(tmp_path, 0)

    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_recently_used_keys_can_be_kept(tmp_path: Path) -> None:
    """Keys used after `used_before` are not evicted, even if the cap is exceeded."""
    one = _fill(tmp_path, 1, 2, 3)

    assert evict(tmp_path, 0, used_before=NOW - 1.5 * 3600).freed_bytes == 2 * one
    assert _held(tmp_path, 1, 2, 3) == [1]


def test_a_missing_cache_has_nothing_to_evict(tmp_path: Path) -> None:
    """Evicting from a cache that does not exist frees 0 bytes and does not create the cache."""
    assert evict(tmp_path / "store", 0).freed_bytes == 0
    assert not (tmp_path / "store").exists()


def test_the_default_cap_is_half_of_the_available_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default cap is half of the free disk space plus cache size, and does not shrink as the cache grows."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1000, 400, 600))

    assert default_cap(tmp_path, 0) == 300
    assert default_cap(tmp_path / "not" / "there", 400) == 500


def test_the_default_cap_is_enforced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an explicit cap, keys are evicted to stay below the default cap."""
    one = _fill(tmp_path, 1, 2, 3)
    monkeypatch.setattr("cnncli.features.store.default_cap", lambda *_: 2 * one)
    with FeatureStore(tmp_path) as store:
        store.write(OTHER, digests_of(50), features_of(50))

    assert _held(tmp_path, 1, 2, 3) == [1]
