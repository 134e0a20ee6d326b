"""Order is kept, whatever the threads do, and an error comes where its result would have come."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncli.runtime.threads import batched, map_ordered


def test_results_come_in_the_order_of_the_items() -> None:
    """Although the first takes longest."""

    def slow_first(number: int) -> int:
        time.sleep(0.05 if number == 0 else 0.0)
        return number * 2

    assert list(map_ordered(slow_first, range(20))) == [number * 2 for number in range(20)]


def test_no_more_than_so_many_are_computed_ahead() -> None:
    """Decoded images wait for their turn in memory."""
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


def test_an_error_comes_in_its_turn() -> None:
    """What was before it has been given out."""
    results = map_ordered(lambda number: 1 // (3 - number), range(6))

    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@settings(deadline=None)
@given(items=st.lists(st.integers()), size=st.integers(1, 7))
def test_batches_hold_every_item_once(items: list[int], size: int) -> None:
    """In order, all but the last one full."""
    batches = list(batched(items, size))

    assert [item for batch in batches for item in batch] == items
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)
