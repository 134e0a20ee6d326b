"""log.txt: every line that was said during a run, with its time in UTC, and the traceback of a bug.

What the console says also goes to the logger `cnncli`; while a run is recorded, a handler writes it down. What was said
before the run existed is remembered until then.
"""

from __future__ import annotations

import logging
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cnncli.errors import CnncliError, MachineError, RunError
from cnncli.runs.folder import RunFolder, fail_run, stop_run
from cnncli.runs.run_json import stamp, utc_now
from cnncli.runtime.environment import cnncli_version
from cnncli.runtime.machine import machine_problem

LOGGER = logging.getLogger("cnncli")


class UtcFormatter(logging.Formatter):
    """`2026-11-21T15:12:00.042Z INFO message`."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")


class LogFile(logging.FileHandler):
    """A log that cannot be written, on a full disk say, does not end the run and fills no screen with tracebacks."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, D102
        pass


class Memory(logging.Handler):
    """Keeps records until a run's log takes them, once; what is said after that is that log's own."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[logging.LogRecord] | None = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, unless they have been handed over."""
        if self._records is not None:
            self._records.append(record)

    def hand_over(self, log: logging.Handler) -> None:
        """Give what was kept to a log, in the order and with the times in which it was said."""
        for record in self._records or ():
            log.handle(record)
        self._records = None


@contextmanager
def remembering() -> Iterator[None]:
    """Let the first run that is recorded inside the block begin its log with what was said before it.

    Serves as a decorator too; inside a block that remembers already, it changes nothing.
    """
    if any(isinstance(handler, Memory) for handler in LOGGER.handlers):
        yield
        return
    memory = Memory()
    LOGGER.addHandler(memory)
    try:
        yield
    finally:
        LOGGER.removeHandler(memory)


@contextmanager
def recording(run: RunFolder) -> Iterator[None]:
    """Write the log of a run while the block runs, and record a failure in run.json.

    An error of the user's or a bug makes the run `failed`; a signal makes it `stopped`. Either can go on.
    """
    handler = LogFile(run.log, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(UtcFormatter())
    for memory in LOGGER.handlers:
        if isinstance(memory, Memory):
            memory.hand_over(handler)
    LOGGER.addHandler(handler)
    try:
        yield
    except CnncliError as error:
        for problem in error.problems:
            LOGGER.error(problem, extra={"is_shown": True})  # on the screen by the command line
        _fail(run, error.problems[0])
        raise
    except Exception as error:
        if (lack := machine_problem(error)) is not None:
            LOGGER.error(lack, extra={"is_shown": True})
            _fail(run, lack)
            raise MachineError(lack) from error
        LOGGER.exception("stopped by an exception in cnncli %s", cnncli_version(), extra={"is_shown": True})
        _remember_log(error, run.log)
        _fail(run, f"{type(error).__name__}: {error}")
        raise
    except BaseException as stop:
        LOGGER.info("stopped by %s", type(stop).__name__, extra={"is_shown": True})
        with suppress(OSError, RunError):
            stop_run(run)
        raise
    finally:
        LOGGER.removeHandler(handler)
        with suppress(OSError):  # what could not be written is lost
            handler.close()


def _fail(run: RunFolder, reason: str) -> None:
    """Record the failure; where that fails too, the first exception is the one to hear of."""
    with suppress(OSError, RunError):
        fail_run(run, reason)


def bug_log(error: BaseException, runs_dir: Path) -> Path:
    """The file that holds the traceback of a bug: the run's log, or one written now.

    Written to `.logs` in the folder of the runs, or in the system's folder for temporary files where that cannot be.
    """
    log = getattr(error, "cnncli_log", None)
    if isinstance(log, Path):
        return log
    text = f"cnncli {cnncli_version()}\n" + "".join(traceback.format_exception(error))
    try:
        return _write_log(runs_dir / ".logs", text)
    except OSError:
        return _write_log(Path(tempfile.mkdtemp(prefix="cnncli-")), text)


def _write_log(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path, number = folder / f"{stamp(utc_now())}.log", 1
    while True:
        try:
            with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return path
        except FileExistsError:
            number += 1
            path = folder / f"{stamp(utc_now())}-{number}.log"


def _remember_log(error: Exception, log: Path) -> None:
    """Let the exception carry the place of its traceback to the command line, the only place where it is told."""
    error.cnncli_log = log  # type: ignore[attr-defined]
