"""Run a function on a hostile file in a process with bounded memory and time, and record every attempt to escape.

The first call starts a server that has imported everything. Each sandbox is a fork of it, which takes milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from cnncli.errors import CnncliError, Message

ROOT = Path(__file__).resolve().parents[2]
MAX_BYTES = 2 * 2**30
"""Memory that a file may take, in addition to that of the process before."""
HARD_LIMIT_BYTES = 8 * 2**30
SECONDS = 30

FORBIDDEN = "outside"
"""Name of a folder next to that of the hostile file. Nothing may read or write it."""

_EXECUTE = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn"}
_CONNECT = {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request", "ftplib.connect"}
_MODIFY = {
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.link", "os.symlink"),
    *("os.truncate", "os.mknod", "os.mkfifo", "shutil.rmtree", "shutil.move"),
}
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Outcome:
    """Outcome of a call in a sandbox.

    Attributes:
        problems: Problems of a cnncli error, or empty.
        bug: Traceback of any other exception.
        escapes: Forbidden operations that were attempted.
        grown_bytes: Growth of the peak memory.
        exit_code: Exit code of the process, negative for a signal.
    """

    problems: tuple[Message, ...]
    bug: str
    escapes: tuple[str, ...]
    grown_bytes: int
    exit_code: int

    def require_harmless(self) -> None:
        """Raise AssertionError unless the call returned or raised a cnncli error in time, without trying to escape."""
        assert self.exit_code == 0, f"ended by signal {-self.exit_code}" if self.exit_code < 0 else "it exited early"
        assert not self.escapes, f"attempted: {'; '.join(self.escapes)}"
        assert not self.bug, self.bug
        assert self.grown_bytes < MAX_BYTES, f"took {self.grown_bytes / 2**30:.1f} GiB"
        assert all(line.isprintable() for line in self.problems), f"not printable: {self.problems}"


def run_sandboxed(function: Callable[..., object], inside: Path, *args: Any, watched: bool = True) -> Outcome:
    """Call a function in a sandbox.

    Args:
        function: Function of a module. It raises CnncliError to refuse a file.
        inside: Folder that may be read and written. The folder `outside` next to it is forbidden.
        args: Arguments of the function, which must be picklable.
        watched: Whether time, memory and operations are restricted; False for trusted work.
    """
    context = _server()
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_run_inside, args=(writer, function, inside, args, watched))
    process.start()
    writer.close()
    try:
        answer: Any = reader.recv() if reader.poll(10 * SECONDS) else ((), "it did not end", (), 0)
    except EOFError:
        answer = ((), "", (), 0)
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    problems, bug, escapes, grown = answer
    return Outcome(problems, bug, escapes, grown, process.exitcode or 0)


@cache
def _server() -> ForkServerContext:
    """Start the server with a module path that contains the tests."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fault_injection.preloaded"])
    settings = {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "MALLOC_ARENA_MAX": "2"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return context


def _run_inside(answer: Connection, function: Callable[..., object], inside: Path, args: Any, watched: bool) -> None:
    """Call the function in the forked process and send the outcome."""
    escapes: list[str] = []
    problems: tuple[Message, ...] = ()
    bug = ""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with _redirect_output(inside):
        tempfile.tempdir = str(inside.parent)
        os.environ["CNNCLI_CACHE"] = str(inside.parent / "cache")
        if watched:
            _limit()
            _watch(inside, escapes)
        try:
            function(*args)
        except CnncliError as error:
            problems = error.problems
        except BaseException:
            bug = traceback.format_exc()
        signal.alarm(0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    answer.send((problems, bug, tuple(escapes), grown))
    answer.close()
    os._exit(0)  # skips the clean-up of libraries whose threads still run


@contextmanager
def _redirect_output(inside: Path) -> Iterator[None]:
    """Write all output to a file, including that of C libraries."""
    with (inside.parent / "output.txt").open("ab") as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
        yield


def _limit() -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + HARD_LIMIT_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (4 * SECONDS,) * 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)


def _watch(inside: Path, escapes: list[str]) -> None:
    """Record each attempt to run a program, open a connection, write elsewhere or read the forbidden folder."""
    allowed = str(inside.parent.resolve())
    forbidden = str((inside.parent / FORBIDDEN).resolve())
    busy = threading.local()

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if getattr(busy, "yes", False):
            return
        busy.yes = True
        try:
            if event == "subprocess.Popen" and args[0] == "git":
                return  # a resumed run asks git for the commit
            if event in _EXECUTE | _CONNECT or (event in _MODIFY and _leaves(args, allowed, forbidden)):
                escapes.append(f"{event} {str(args)[:200]}")
            elif event == "open":
                _check_open(args, allowed, forbidden, escapes)
        finally:
            busy.yes = False

    sys.addaudithook(hook)


def _leaves(args: tuple[Any, ...], allowed: str, forbidden: str) -> bool:
    """Return whether an operation modifies files outside the sandbox."""
    if isinstance(args[-1], int) and args[-1] >= 0 and len(args) > 1:
        return False  # relative to an open folder, which was checked when it was opened
    paths = [os.path.realpath(path) for path in args[:2] if isinstance(path, str | bytes | os.PathLike)]
    return any(not str(path).startswith(allowed) or str(path).startswith(forbidden) for path in paths)


def _check_open(args: tuple[Any, ...], allowed: str, forbidden: str, escapes: list[str]) -> None:
    path, mode, flags = args
    if not isinstance(path, str | bytes | os.PathLike):
        return  # an open descriptor
    where = os.path.realpath(os.fsdecode(path))
    writes = bool(flags & _WRITE_FLAGS) if isinstance(flags, int) else any(letter in str(mode) for letter in "wax+")
    if where.startswith(forbidden) or (writes and not where.startswith((allowed, "/dev/"))):
        escapes.append(f"opens {where}{' for writing' if writes else ''}")
