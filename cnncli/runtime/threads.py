"""Distribute work in batches over threads, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from threading import Lock
from typing import Any, TypeVar

from cnncli.runtime.signals import obey_again

T = TypeVar("T")
R = TypeVar("R")


def workers() -> int:
    """Return the number of threads for decoding and rendering: one per processor that this process may use.

    `PYTHON_CPU_COUNT` overrides it, as in Python 3.13: containers and clusters limit time, not processors.
    """
    given = os.environ.get("PYTHON_CPU_COUNT", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_ordered(function: Callable[[T], R], items: Iterable[T], ahead: int = 64) -> Iterator[R]:
    """Yield the results of a function in the order of the items, computed by threads, at most `ahead` in advance.

    An exception of the function is raised in place of its result.
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers()) as pool:
        try:
            for item in items:
                obey_again()
                pending.append(pool.submit(function, item))
                if len(pending) >= ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


HEADER_LOCK = Lock()
"""Held while NumPy reads the header of an array, which it parses by `ast`. In Python 3.11, a thread that is interrupted
by another one there sometimes gets a SystemError (cpython issue 106905)."""

_BLAS_LOCK = Lock()
_BLAS_LIMITS: list[Any] = []
"""The limit of BLAS, once for each block that needs it."""


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread inside the block, for work that is divided over threads; such blocks may overlap.

    Idle threads of BLAS spin between two small products, and slow those that decode images and run networks.
    """
    from threadpoolctl import threadpool_limits

    with _BLAS_LOCK:
        _BLAS_LIMITS.append(_BLAS_LIMITS[0] if _BLAS_LIMITS else threadpool_limits(1, "blas"))
    try:
        yield
    finally:
        with _BLAS_LOCK:
            limit = _BLAS_LIMITS.pop()
            if not _BLAS_LIMITS:
                limit.restore_original_limits()


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`; the last list may be shorter.

    >>> list(batched("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
