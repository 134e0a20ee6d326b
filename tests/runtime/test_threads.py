"""Results keep their order, and an error is raised in place of its result."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from cnncli.runtime.threads import batched, map_ordered, one_blas_thread, workers


def test_results_come_in_the_order_of_the_items() -> None:
    """Results keep the order of the items, even if the first one takes longest."""

    def slow_first(number: int) -> int:
        time.sleep(0.05 if number == 0 else 0.0)
        return number * 2

    assert list(map_ordered(slow_first, range(20))) == [number * 2 for number in range(20)]


def test_few_results_are_computed_in_advance() -> None:
    """Only a few results are computed ahead, because decoded images take memory."""
    started: list[int] = []
    lock = threading.Lock()

    def note(number: int) -> int:
        with lock:
            started.append(number)
        return number

    results = map_ordered(note, range(100), ahead=5)
    next(results)
    time.sleep(0.05)

    assert len(started) <= 6
    results.close()  # type: ignore[attr-defined]


def test_an_error_is_raised_in_place_of_its_result() -> None:
    """An error is raised after all earlier results have been yielded."""
    results = map_ordered(lambda number: 1 // (3 - number), range(6))

    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@given(items=st.lists(st.integers()), size=st.integers(1, 7))
def test_batches_hold_every_item_once(items: list[int], size: int) -> None:
    """Batches keep the order, and all batches but the last are full."""
    batches = list(batched(items, size))

    assert [item for batch in batches for item in batch] == items
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)


def test_a_container_can_state_its_number_of_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHON_CPU_COUNT sets the number of threads, as in Python 3.13, and anything but a number is ignored."""
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    default = workers()
    monkeypatch.setenv("PYTHON_CPU_COUNT", "3")
    assert workers() == 3
    for wrong in ("", "0", "default", "-1"):
        monkeypatch.setenv("PYTHON_CPU_COUNT", wrong)
        assert workers() == default


def _blas_threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_blas_has_one_thread_until_the_last_of_overlapping_blocks_ends() -> None:
    """Blocks that end in the order in which they began, as generators do, restore the number of threads."""
    with threadpool_limits(2, "blas"):
        first, second = one_blas_thread(), one_blas_thread()
        found = [_blas_threads()]
        for change in (first.__enter__, second.__enter__):
            change()
            found.append(_blas_threads())
        for block in (first, second):
            block.__exit__(None, None, None)
            found.append(_blas_threads())

    assert found == [{2}, {1}, {1}, {1}, {2}]
