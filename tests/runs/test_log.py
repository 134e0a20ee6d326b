"""A run has a log, and the traceback of a bug is written to a log."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from cnncli.errors import ConfigError, MachineError
from cnncli.runs.folder import RunFolder, create_run
from cnncli.runs.log import LOGGER, bug_log, recording, remembering
from cnncli.terminal.console import Console

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    """Create a run, and check afterwards that the logger is unchanged."""
    before = (LOGGER.level, list(LOGGER.handlers))
    yield create_run(tmp_path / "runs", "a", {"config.yaml": ""})

    assert (LOGGER.level, list(LOGGER.handlers)) == before


def lines(run: RunFolder) -> list[str]:
    """Return the lines of the log without their times."""
    return [re.sub(rf"^{STAMP} ", "", line) for line in run.log.read_text().splitlines()]


def raise_within(run: RunFolder, error: BaseException) -> None:
    """Raise an exception while a run is recorded."""
    with recording(run):
        raise error


def test_messages_are_in_the_log(run: RunFolder) -> None:
    """The log contains every message, even those that --quiet hides."""
    screen = StringIO()
    with recording(run):
        console = Console(screen, quiet=True)
        console.phase("images", "2,000 of two classes")
        LOGGER.info("an ordinary line · Ä")
        LOGGER.debug("a detail")
        LOGGER.warning("a warning")

    assert lines(run) == [
        "INFO images: 2,000 of two classes",
        "INFO an ordinary line · Ä",
        "DEBUG a detail",
        "WARNING a warning",
    ]
    assert screen.getvalue() == "warning: a warning\n"


def test_messages_from_before_the_run_are_in_its_log(run: RunFolder) -> None:
    """Earlier messages come first, in order and once; a second recording adds only new messages."""
    with remembering():
        LOGGER.debug("before")
        with recording(run):
            LOGGER.info("during")
        LOGGER.info("between")
        with recording(run):
            LOGGER.info("after")
    LOGGER.info("later")

    assert lines(run) == ["DEBUG before", "INFO during", "INFO after"]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process cannot be set on Windows")
def test_every_line_has_its_time_in_utc(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are in UTC, so that logs of different machines can be compared."""
    record = {"msg": "hello", "levelno": logging.INFO, "levelname": "INFO", "created": 0.25, "msecs": 250.0}
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        with recording(run):
            LOGGER.handle(logging.makeLogRecord(record))
    time.tzset()

    assert run.log.read_text() == "1970-01-01T00:00:00.250Z INFO hello\n"


def test_a_resumed_run_appends_to_its_log(run: RunFolder) -> None:
    """Resuming a run keeps the lines of its log."""
    for text in ("first", "second"):
        with recording(run):
            LOGGER.info(text)

    assert lines(run) == ["INFO first", "INFO second"]


def test_messages_outside_a_run_are_in_no_log(run: RunFolder) -> None:
    """Messages after the block are not written to the log."""
    with recording(run):
        pass
    LOGGER.info("later")

    assert lines(run) == []


def test_a_user_error_makes_the_run_failed(run: RunFolder) -> None:
    """The log has all problems without a traceback, and run.json has the first one."""
    with pytest.raises(ConfigError):
        raise_within(run, ConfigError(["one", "two"]))

    assert lines(run) == ["ERROR one", "ERROR two"]
    assert (run.read_facts()["state"], run.read_facts()["reason"]) == ("failed", "one")


def test_a_bug_makes_the_run_failed_and_leaves_its_traceback_in_the_log(run: RunFolder) -> None:
    """The command line names the run's log."""
    error = ZeroDivisionError("by zero")
    with pytest.raises(ZeroDivisionError):
        raise_within(run, error)

    assert "raise error" in run.log.read_text()
    assert lines(run)[-1] == "ZeroDivisionError: by zero"
    assert (run.read_facts()["state"], run.read_facts()["reason"]) == ("failed", "ZeroDivisionError: by zero")
    assert bug_log(error, Path("never-used")) == run.log


def test_too_little_memory_makes_the_run_failed_and_is_no_bug(run: RunFolder) -> None:
    """The log and run.json have the reason without a traceback, and the error has a remedy."""
    with pytest.raises(MachineError) as error:
        raise_within(run, MemoryError("Unable to allocate 28 GiB"))

    assert error.value.code == "machine-memory"
    assert "28 GiB" in run.read_facts()["reason"]
    assert len(lines(run)) == 1


def test_a_signal_makes_the_run_stopped(run: RunFolder) -> None:
    """A signal leaves a run that can be resumed, and the log names the signal."""
    with pytest.raises(KeyboardInterrupt):
        raise_within(run, KeyboardInterrupt())

    assert lines(run) == ["INFO stopped by KeyboardInterrupt"]
    assert run.read_facts()["state"] == "stopped"


def test_a_deleted_run_does_not_hide_the_error(run: RunFolder) -> None:
    """If the failure cannot be recorded, the original error is still raised."""
    shutil.rmtree(run.path)
    run.path.mkdir()

    with pytest.raises(ConfigError, match="one"):
        raise_within(run, ConfigError("one"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_on_a_full_disk_does_not_end_the_run(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """On a full disk, only log messages are lost."""
    run.log.symlink_to("/dev/full")
    with recording(run):
        LOGGER.info("hello")

    assert capsys.readouterr().err == ""


def caught(message: str) -> Exception:
    """Return an exception with a traceback."""
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        return error


def test_a_bug_outside_a_run_is_logged_in_the_folder_of_the_runs(tmp_path: Path) -> None:
    """The log is in a hidden folder and named by time; two bugs in one second get two files."""
    logs = [bug_log(caught(f"number {k}"), tmp_path / "runs") for k in range(2)]

    assert len(set(logs)) == 2
    for k, log in enumerate(logs):
        assert log.parent == tmp_path / "runs" / ".logs"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z-\w+\.log", log.name)
        assert log.read_text().startswith("cnncli ")
        assert log.read_text().rstrip().endswith(f"RuntimeError: number {k}")


def test_the_temporary_folder_is_used_if_no_log_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the folder of the runs is read-only or a file, the log is written to the temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "runs").write_text("a file")
    log = bug_log(caught("oh"), tmp_path / "runs")

    assert log.is_relative_to(tmp_path / "temporary")
    assert "RuntimeError: oh" in log.read_text()
