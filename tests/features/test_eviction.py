"""The cache stays below its cap, and keys in use are never deleted."""

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
    """Write a key for each number, used that many hours ago, and return the size of one."""
    for number in numbers:
        with FeatureStore(store) as opened:
            opened.write(_key(number), digests_of(50), features_of(50))
        os.utime(store / _key(number).name / DESCRIPTION, (NOW - 3600 * number, NOW - 3600 * number))
    return stored_keys(store)[0].size_bytes


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The messages of the feature cache."""
    caplog.set_level("DEBUG", "cnncli.features")
    return caplog


def _facts(log: pytest.LogCaptureFixture) -> list[tuple[str, object, object]]:
    """Return code, received and expected size of the messages."""
    messages = [record.msg for record in log.records if record.name.startswith("cnncli.features")]
    return [(message.code, message.facts["received"], message.facts["expected"]) for message in messages]


def _held(store: Path, *numbers: int) -> list[int]:
    return [number for number in numbers if (store / _key(number).name).exists()]


def test_the_least_recently_used_keys_are_evicted_first(tmp_path: Path) -> None:
    """Whole keys are deleted, no more than necessary."""
    one = _fill(tmp_path, 3, 1, 4, 2)

    assert evict(tmp_path, 4 * one).freed_bytes == 0
    assert evict(tmp_path, 3 * one - 1).freed_bytes == 2 * one
    assert _held(tmp_path, 1, 2, 3, 4) == [1, 2]


def test_reading_counts_as_use(tmp_path: Path) -> None:
    """Features that were just read stay longer than those that were written later."""
    one = _fill(tmp_path, 1, 2, 3)
    with FeatureStore(tmp_path) as store:
        store.read(_key(3), digests_of(2))
    evict(tmp_path, one)

    assert _held(tmp_path, 1, 2, 3) == [3]


def test_a_search_does_not_count_as_use(tmp_path: Path) -> None:
    """Looking for missing features does not change the order."""
    one = _fill(tmp_path, 1, 2)
    with FeatureStore(tmp_path) as store:
        store.missing(_key(2), digests_of(2))
    evict(tmp_path, one)

    assert _held(tmp_path, 1, 2) == [1]


def test_a_writer_keeps_the_cache_below_its_cap(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """Each segment that exceeds the cap evicts an old key, whichever process wrote it."""
    one = _fill(tmp_path, 8, 9)
    for number in range(5):
        with FeatureStore(tmp_path, max_bytes=4 * one) as store:
            store.write(_key(number), digests_of(50), features_of(50))
        assert sum(key.size_bytes for key in stored_keys(tmp_path)) <= 4 * one

    assert _held(tmp_path, 0, 1, 2, 3, 4, 8, 9) == [1, 2, 3, 4]
    assert {code for code, *_ in _facts(log)} == {"cache-evicted"}


def test_keys_of_a_running_process_stay(tmp_path: Path) -> None:
    """They stay until the process ends or is killed, however long ago they were used."""
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


def test_features_in_hand_stay(tmp_path: Path) -> None:
    """Features that can still be read stay, even if their store does not exist anymore."""
    _fill(tmp_path, 1)
    features = FeatureStore(tmp_path).read(_key(1), digests_of(50))

    assert evict(tmp_path, 0).freed_bytes == 0
    assert features.rows(np.array([49]))[0][0, 0] == 49
    del features
    assert evict(tmp_path, 0).pinned_bytes == 0


def test_more_in_use_than_the_cap_is_one_warning(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """The training continues with what it needs."""
    with FeatureStore(tmp_path, max_bytes=1000) as store:
        for first in (0, 50, 100):
            store.write(KEY, digests_of(50, first), features_of(50, first))

        assert store.missing(KEY, digests_of(150)) == []
        assert _facts(log) == [("cache-over-cap", stored_keys(tmp_path)[0].size_bytes // 3, 1000)]


def test_the_cap_is_enforced_when_the_cache_is_closed(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """Keys that were in use are then evicted, too, and the size of what was evicted is logged."""
    one = _fill(tmp_path, 1, 2, 3)
    with FeatureStore(tmp_path, max_bytes=one) as store:
        store.read(_key(3), digests_of(50))
        store.read(_key(2), digests_of(50))
        assert _held(tmp_path, 1, 2, 3) == [1, 2, 3]

    assert _held(tmp_path, 1, 2, 3) == [2]
    assert _facts(log) == [("cache-evicted", 2 * one, one)]


def test_an_eviction_is_logged_once(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """The total is logged at the end; without an eviction nothing is logged."""
    one = _fill(tmp_path, 1, 2)
    with FeatureStore(tmp_path, max_bytes=2 * one) as store:
        for number in (3, 4):
            store.write(_key(number), digests_of(50), features_of(50))
        assert _facts(log) == []
    with FeatureStore(tmp_path, max_bytes=2 * one) as store:
        store.read(_key(3), digests_of(50))

    assert _facts(log) == [("cache-evicted", 2 * one, 2 * one)]


def test_a_closed_cache_uses_nothing(tmp_path: Path) -> None:
    """The end of the block closes it."""
    with FeatureStore(tmp_path) as store:
        store.write(KEY, digests_of(50), features_of(50))
        assert evict(tmp_path, 0).freed_bytes == 0

    assert evict(tmp_path, 0).pinned_bytes == 0


def test_an_eviction_leaves_nothing_of_a_key(tmp_path: Path) -> None:
    """It deletes temporary folders of killed processes and empty folders, too."""
    _fill(tmp_path, 1)
    (tmp_path / _key(1).name / ".half").mkdir()
    (tmp_path / ".half").mkdir()
    (tmp_path / "empty").mkdir()
    evict(tmp_path, 10**9)
    assert remains_in(tmp_path, _key(1)) == []
    evict(tmp_path, 0)

    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_recently_used_keys_can_be_kept(tmp_path: Path) -> None:
    """Keys that were used after `used_before` stay, whatever their size."""
    one = _fill(tmp_path, 1, 2, 3)

    assert evict(tmp_path, 0, used_before=NOW - 1.5 * 3600).freed_bytes == 2 * one
    assert _held(tmp_path, 1, 2, 3) == [1]


def test_a_missing_cache_has_nothing_to_evict(tmp_path: Path) -> None:
    """It is not created by the attempt."""
    assert evict(tmp_path / "store", 0).freed_bytes == 0
    assert not (tmp_path / "store").exists()


def test_the_default_cap_is_half_of_the_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The space is that of the free disk and of the cache, so the cap does not shrink as the cache grows."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1000, 400, 600))

    assert default_cap(tmp_path, 0) == 300
    assert default_cap(tmp_path / "not" / "there", 400) == 500


def test_the_default_cap_is_enforced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If others fill the disk, the cache becomes smaller."""
    one = _fill(tmp_path, 1, 2, 3)
    monkeypatch.setattr("cnncli.features.eviction.default_cap", lambda *_: 2 * one)
    with FeatureStore(tmp_path) as store:
        store.write(OTHER, digests_of(50), features_of(50))

    assert _held(tmp_path, 1, 2, 3) == [1]
