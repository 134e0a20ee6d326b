"""log.txt: the messages of a run, including those before its creation, with times in UTC; and tracebacks of bugs."""

from __future__ import annotations

import logging
import os
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import MemoryHandler
from pathlib import Path

from cnncli.errors import CnncliError, MachineError, RunError
from cnncli.runs.documents import stamp, utc_now
from cnncli.runs.folder import EndState, RunFolder, end_run
from cnncli.runtime.machine import machine_problem
from cnncli.terminal.console import LOGGER, SHOWN
from cnncli.version import __version__

MAX_REMEMBERED = 100_000

# 2026-11-21T15:12:00.042Z INFO message
_FORMATTER = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
_FORMATTER.converter = time.gmtime


class LogFile(logging.FileHandler):
    """A log file. If it cannot be written, for example on a full disk, the run continues without it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging calls it so
        """Drop the record."""


@contextmanager
def remembering() -> Iterator[None]:
    """Keep messages, so that the log of the first run recorded inside the block starts with them. Also a decorator."""
    memory = MemoryHandler(MAX_REMEMBERED, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
    LOGGER.addHandler(memory)
    try:
        yield
    finally:
        LOGGER.removeHandler(memory)


@contextmanager
def recording(run: RunFolder) -> Iterator[None]:
    """Write the log of a run inside the block, and record in run.json if it fails or is stopped by a signal.

    Raises:
        MachineError: The machine lacks a resource, such as memory.
    """
    handler = LogFile(run.log, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_FORMATTER)
    for memory in [other for other in LOGGER.handlers if isinstance(other, MemoryHandler)]:
        memory.setTarget(handler)
        memory.flush()
        LOGGER.removeHandler(memory)
    LOGGER.addHandler(handler)
    try:
        yield
    except Exception as error:
        lack = None if isinstance(error, CnncliError) else machine_problem(error)
        problems = error.problems if isinstance(error, CnncliError) else (lack,) if lack else ()
        for problem in problems:
            LOGGER.error(problem, extra=SHOWN)
        if not problems:
            LOGGER.exception("exception in cnncli %s", __version__, extra=SHOWN)
            error.cnncli_log = run.log  # type: ignore[attr-defined]  # for `bug_log`
        _record_end(run, "failed", problems[0] if problems else f"{type(error).__name__}: {error}")
        if lack:
            raise MachineError(lack) from error
        raise
    except BaseException as stop:
        LOGGER.info("stopped by %s", type(stop).__name__, extra=SHOWN)
        _record_end(run, "stopped")
        raise
    finally:
        LOGGER.removeHandler(handler)
        with suppress(OSError):
            handler.close()


def _record_end(run: RunFolder, state: EndState, reason: str | None = None) -> None:
    """Record the end in run.json. If that fails, too, the first exception is reported."""
    with suppress(OSError, RunError):
        end_run(run, state, {"reason": reason} if reason else {})


def bug_log(error: BaseException, runs_dir: Path) -> Path:
    """Return the file with the traceback of a bug: the run's log, or one written to `.logs` or the temporary folder."""
    log = getattr(error, "cnncli_log", None)
    if isinstance(log, Path):
        return log
    text = f"cnncli {__version__}\n" + "".join(traceback.format_exception(error))
    try:
        (runs_dir / ".logs").mkdir(parents=True, exist_ok=True)
        return _write_log(runs_dir / ".logs", text)
    except OSError:
        return _write_log(Path(tempfile.gettempdir()), text)


def _write_log(folder: Path, text: str) -> Path:
    descriptor, path = tempfile.mkstemp(".log", f"{stamp(utc_now())}-", folder)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return Path(path)
