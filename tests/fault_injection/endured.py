"""Work in a forked child that may neither hang nor take much memory, and whose death is seen.

The children are forked by a process of its own, which has no threads: a fork of one that has, as any has in which
TensorFlow was imported, may wait for ever for a lock that nobody holds.
"""

from __future__ import annotations

import atexit
import functools
import os
import pickle
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

Result = TypeVar("Result")
Work = Callable[[], object]

SECONDS = 10
EXTRA_BYTES = 2_000_000_000
ROOT = Path(__file__).resolve().parents[2]


def endured(work: Callable[[], Result], seconds: int = SECONDS, extra_bytes: int = EXTRA_BYTES) -> Result:
    """What some work gives, done in a child.

    Args:
        work: what can be pickled, such as a partial of a module's function, and gives what can be pickled.
        seconds: how long it may take.
        extra_bytes: how much more address space than an idle Python it may take.
    Raises: AssertionError: it raised, or a signal ended it, be it for the time or for a crash.
    """
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    # Pickled apart, so that the server can tell what cannot be unpickled.
    pickle.dump((pickle.dumps(work), seconds, extra_bytes), server.stdin)
    server.stdin.flush()
    code, answer = pickle.load(server.stdout)
    assert code >= 0, f"ended by {signal.Signals(-code).name}, of {seconds} s"
    assert answer, f"ended with {code} and without a word"
    is_fine, result = pickle.loads(answer)
    assert is_fine, result
    return result  # type: ignore[no-any-return]


@functools.cache
def _server() -> subprocess.Popen[bytes]:
    """Ends with this process, when its standard input does."""
    command = [sys.executable, "-m", __name__]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever children print
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(_answer(*request), answers)
        answers.flush()


def _answer(pickled: bytes, seconds: int, extra_bytes: int) -> tuple[int, bytes]:
    """Exit code of a child, negative for a signal, and what it said."""
    try:
        work: Work = pickle.loads(pickled)  # here, so that what it imports is there for the next one too
    except Exception:
        return 0, pickle.dumps((False, traceback.format_exc()))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _do(work, writer, seconds, extra_bytes)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def _do(work: Work, writer: int, seconds: int, extra_bytes: int) -> NoReturn:
    try:
        signal.alarm(seconds)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        most = _address_space_bytes() + extra_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
        answer: tuple[bool, object] = (True, work())
    except BaseException:
        answer = (False, traceback.format_exc())
    try:
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(answer, pipe)
    finally:
        os._exit(0)


def _address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    _serve()
