"""A process of its own for a file that means harm: bounded in memory and time, and every way out of it watched.

The first cage starts a server that has imported everything; each cage after it is a fork of that, within milliseconds.
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

from cnncli.errors import CnncliError

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 2 * 2**30
"""That a file may take, above what the process had."""
HARD_LIMIT_BYTES = 8 * 2**30
SECONDS = 30

CANARY = "outside"
"""A folder beside the one a file lies in; nobody has any business in it."""

_RUNS = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn"}
_TALKS = {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request", "ftplib.connect"}
_CHANGES = {
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.link", "os.symlink"),
    *("os.truncate", "os.mknod", "os.mkfifo", "shutil.rmtree", "shutil.move"),
}
_READING_APART = ["-P", "-m", "cnncli.networks.weights.hdf5_names"]
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Ended:
    """How it went in a cage.

    Attributes:
        problems: the lines of cnncli's own error; none where it was content.
        bug: the traceback of anything else that was raised.
        escapes: what was tried that no file may bring about.
        grown_bytes: the most memory that was taken above what there was at first.
        exit_code: of the process; below 0: the signal that ended it.
    """

    problems: tuple[str, ...]
    bug: str
    escapes: tuple[str, ...]
    grown_bytes: int
    exit_code: int

    def require_harmless(self) -> None:
        """Raise AssertionError unless it was content or refused in words, in time, and stayed inside."""
        assert self.exit_code == 0, f"ended by signal {-self.exit_code}" if self.exit_code < 0 else "it exited"
        assert not self.escapes, f"tried: {'; '.join(self.escapes)}"
        assert not self.bug, self.bug
        assert self.grown_bytes < MOST_BYTES, f"took {self.grown_bytes / 2**30:.1f} GiB"
        assert all(line.isprintable() for line in self.problems), f"no line that any terminal takes: {self.problems}"


def caged(do: Callable[..., object], inside: Path, *args: Any, watched: bool = True) -> Ended:
    """Run a function in a cage.

    Args:
        do: a function of a module; raises CnncliError where it refuses.
        inside: the folder that may be read and written; a folder `outside` beside it is watched.
        args: of the function, any that can be pickled.
        watched: False for work that is to be trusted and needs longer.
    """
    context = _server()
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_inside, args=(theirs, do, inside, args, watched))
    process.start()
    theirs.close()
    try:
        told: Any = mine.recv() if mine.poll(10 * SECONDS) else ((), "it did not end", (), 0)
    except EOFError:
        told = ((), "", (), 0)
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    problems, bug, escapes, grown = told
    return Ended(problems, bug, escapes, grown, process.exitcode or 0)


@cache
def _server() -> ForkServerContext:
    """The server, started with a path on which it finds what it has to import."""
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


def _inside(answer: Connection, do: Callable[..., object], inside: Path, args: Any, watched: bool) -> None:
    """What happens in the forked process."""
    escapes: list[str] = []
    problems: tuple[str, ...] = ()
    bug = ""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with _silenced(inside):
        tempfile.tempdir = str(inside.parent)
        os.environ["CNNCLI_CACHE"] = str(inside.parent / "cache")
        if watched:
            _limit()
            _watch(inside, escapes)
        try:
            do(*args)
        except CnncliError as error:
            problems = error.problems
        except BaseException:
            bug = traceback.format_exc()
        signal.alarm(0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    answer.send((problems, bug, tuple(escapes), grown))
    answer.close()
    os._exit(0)  # without the clean-up of libraries whose threads are still there


@contextmanager
def _silenced(inside: Path) -> Iterator[None]:
    """What is said goes to a file, however deep it is said."""
    with (inside.parent / "said.txt").open("ab") as said:
        for descriptor in (1, 2):
            os.dup2(said.fileno(), descriptor)
        yield


def _limit() -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + HARD_LIMIT_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (4 * SECONDS,) * 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)


def _watch(inside: Path, escapes: list[str]) -> None:
    """Note every attempt to run something, to talk to somebody, to write elsewhere or to read what is forbidden."""
    allowed = str(inside.parent.resolve())
    forbidden = str((inside.parent / CANARY).resolve())
    busy = threading.local()

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if getattr(busy, "yes", False):
            return
        busy.yes = True
        try:
            if event == "subprocess.Popen" and (args[0] == "git" or list(args[1][1:4]) == _READING_APART):
                return  # whoever resumes asks which commit this is; lists that could be long are read apart
            if event in _RUNS | _TALKS or (event in _CHANGES and _leads_out(args, allowed, forbidden)):
                escapes.append(f"{event} {str(args)[:200]}")
            elif event == "open":
                _judge_opening(args, allowed, forbidden, escapes)
        finally:
            busy.yes = False

    sys.addaudithook(hook)


def _leads_out(args: tuple[Any, ...], allowed: str, forbidden: str) -> bool:
    """Whether a change touches what lies elsewhere; one below an open folder was judged when that was opened."""
    if isinstance(args[-1], int) and args[-1] >= 0 and len(args) > 1:
        return False
    paths = [os.path.realpath(path) for path in args[:2] if isinstance(path, str | bytes | os.PathLike)]
    return any(not str(path).startswith(allowed) or str(path).startswith(forbidden) for path in paths)


def _judge_opening(args: tuple[Any, ...], allowed: str, forbidden: str, escapes: list[str]) -> None:
    path, mode, flags = args
    if not isinstance(path, str | bytes | os.PathLike):
        return  # a descriptor that is open already
    where = os.path.realpath(os.fsdecode(path))
    writes = bool(flags & _WRITING) if isinstance(flags, int) else any(letter in str(mode) for letter in "wax+")
    if where.startswith(forbidden) or (writes and not where.startswith((allowed, "/dev/"))):
        escapes.append(f"opens {where}{' for writing' if writes else ''}")
