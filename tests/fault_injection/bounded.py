"""Run functions in forked children with bounded time and memory, and report crashes.

A server process without threads forks the children. A fork of a process with threads, such as one that has imported
TensorFlow, may wait forever for a lock that a thread of the parent holds.
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
IDLE_FACTOR = 6
"""Limit of the time on a clock, as a multiple of that on a processor: others may use the processors."""
EXTRA_BYTES = 2_000_000_000
ROOT = Path(__file__).resolve().parents[2]


def run_bounded(work: Callable[[], Result], seconds: int = SECONDS, extra_bytes: int = EXTRA_BYTES) -> Result:
    """Run a function in a child process.

    Args:
        work: Function that can be pickled, such as a `partial` of a module-level function, with a result that can be
            pickled.
        seconds: Limit of processor time.
        extra_bytes: Limit of the address space beyond that of an idle Python.

    Returns:
        The result of the function.

    Raises:
        AssertionError: The function raised an exception, or a signal killed the child.
    """
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    # The function is pickled separately, so that the server can report what it cannot unpickle.
    pickle.dump((pickle.dumps(work), seconds, extra_bytes), server.stdin)
    server.stdin.flush()
    code, answer = pickle.load(server.stdout)
    assert code >= 0, f"ended by {signal.Signals(-code).name}; time limit {seconds} s"
    assert answer, f"exited with {code} and without an answer"
    is_fine, result = pickle.loads(answer)
    assert is_fine, result
    return result  # type: ignore[no-any-return]  # comes out of a pickle


@functools.cache
def _server() -> subprocess.Popen[bytes]:
    """Start the server, which ends when this process closes its standard input."""
    command = [sys.executable, "-m", __name__]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keeps what children print out of the answers
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(_answer(*request), answers)
        answers.flush()


def _answer(pickled: bytes, seconds: int, extra_bytes: int) -> tuple[int, bytes]:
    """Return the exit code of a child (negative for a signal) and its pickled answer."""
    try:
        work: Work = pickle.loads(pickled)  # in the server, so that the next child finds the modules imported
    except Exception:
        return 0, pickle.dumps((False, traceback.format_exc()))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run_in_child(work, writer, seconds, extra_bytes)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), answer


def _run_in_child(work: Work, writer: int, seconds: int, extra_bytes: int) -> NoReturn:
    try:
        signal.alarm(IDLE_FACTOR * seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limit = _address_space_bytes() + extra_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
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
