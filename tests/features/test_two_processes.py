"""Two processes that use one cache at the same time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnncli.features.store import FeatureStore
from tests.features.storing import KEY, digests_of, features_of, remains_in, start, wait_for

FILL = """
print("ready", flush=True)
input()
todo = store.missing(KEY, digests_of(120))
for start in range(0, len(todo), 10):
    numbers = [digests_of(120).index(digest) for digest in todo[start : start + 10]]
    arrays = [np.concatenate(tensors) for tensors in zip(*(features_of(1, number) for number in numbers))]
    store.write(KEY, todo[start : start + 10], arrays)
features = store.read(KEY, digests_of(120))
print(__import__("hashlib").sha256(features.rows(np.arange(120))[0].tobytes()).hexdigest(), flush=True)
"""


def test_two_processes_can_fill_a_cache_at_once(tmp_path: Path) -> None:
    """Two processes that fill a cache at once read equal features and leave no temporary folders."""
    processes = [start(tmp_path, FILL) for _ in range(2)]
    for process in processes:
        wait_for(process, "ready")
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    first, second = (process.communicate(timeout=60)[0] for process in processes)

    assert [process.returncode for process in processes] == [0, 0]
    assert first == second != ""
    got = FeatureStore(tmp_path).read(KEY, digests_of(120)).rows(np.arange(120))
    assert all((mine == theirs).all() for mine, theirs in zip(got, features_of(120), strict=True))
    assert remains_in(tmp_path) == []


EVICT = """
from cnncli.features.eviction import evict
print("ready", flush=True)
input()
for _ in range(150):
    evict(Path(sys.argv[1]), 0)
"""
CHURN = """
print("ready", flush=True)
input()
for number in range(60):
    with FeatureStore(Path(sys.argv[1])) as one:
        one.write(KEY, digests_of(3), features_of(3))
        assert one.read(KEY, digests_of(3)).rows(np.arange(3))[0][:, 0].tolist() == [0, 1, 2]
print("good", flush=True)
"""


def test_a_cache_can_be_evicted_while_it_is_filled(tmp_path: Path) -> None:
    """While one process evicts all keys, another can write and read features without errors."""
    filling, emptying = start(tmp_path, CHURN), start(tmp_path, EVICT)
    for process in (filling, emptying):
        wait_for(process, "ready")
    for process in (filling, emptying):
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said, _ = filling.communicate(timeout=60)
    emptying.communicate(timeout=60)

    assert (said, filling.returncode, emptying.returncode) == ("good\n", 0, 0)
