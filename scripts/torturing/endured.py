"""Work in a forked child that may neither hang nor take much memory, and whose death is seen."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

Result = TypeVar("Result")

SECONDS = 10
EXTRA_BYTES = 2_000_000_000


def endured(work: Callable[[], Result], seconds: int = SECONDS, extra_bytes: int = EXTRA_BYTES) -> Result:
    """What some work gives, done in a child of this process.

    Args:
        work: gives something that can be pickled.
        seconds: how long it may take.
        extra_bytes: how much more address space than this process it may take.
    Raises: AssertionError: it raised, or a signal ended it, be it for the time or for a crash.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _answer(writer, work, seconds, extra_bytes)
    os.close(writer)
    with open(reader, "rb") as pipe:  # noqa: PTH123 - a descriptor
        answer = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code >= 0, f"ended by {signal.Signals(-code).name}, of {seconds} s"
    assert answer, f"ended with {code} and without a word"
    is_fine, result = pickle.loads(answer)
    assert is_fine, result
    return result  # type: ignore[no-any-return]


def _answer(writer: int, work: Callable[[], object], seconds: int, extra_bytes: int) -> NoReturn:
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        most = _address_space_bytes() + extra_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
        answer: tuple[bool, object] = (True, work())
    except BaseException:
        answer = (False, traceback.format_exc())
    try:
        with open(writer, "wb") as pipe:
            pickle.dump(answer, pipe)
    finally:
        os._exit(0)


def _address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
