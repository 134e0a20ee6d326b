"""The log of a run, and where the traceback of a bug goes."""

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
    """A run that has just been created; the logger must be as before when the test is over."""
    before = (LOGGER.level, list(LOGGER.handlers))
    yield create_run(tmp_path / "runs", "a", {"config.yaml": ""})

    assert (LOGGER.level, list(LOGGER.handlers)) == before


def lines(run: RunFolder) -> list[str]:
    """The log without the times."""
    return [re.sub(rf"^{STAMP} ", "", line) for line in run.log.read_text().splitlines()]


def raise_within(run: RunFolder, error: BaseException) -> None:
    """Raise while a run is recorded."""
    with recording(run):
        raise error


def test_what_is_said_is_in_the_log(run: RunFolder) -> None:
    """Messages, details and warnings, even those that --quiet keeps off the screen."""
    screen = StringIO()
    with recording(run):
        console = Console(screen, quiet=True)
        console.phase("images", "2,000 of two classes")
        console.say("an ordinary line · Ä")
        console.detail("a detail")
        console.warn("a warning")

    assert lines(run) == [
        "INFO images: 2,000 of two classes",
        "INFO an ordinary line · Ä",
        "DEBUG a detail",
        "WARNING a warning",
    ]
    assert screen.getvalue() == "warning: a warning\n"


def test_what_was_said_before_the_run_is_in_its_log(run: RunFolder) -> None:
    """Once, in order and first; a second look at the run adds what is said then, and nothing before that."""
    console = Console(StringIO())
    with remembering(), remembering():
        console.detail("before")
        with recording(run):
            console.say("during")
        console.say("between")
        with recording(run):
            console.say("after")
    console.say("later")

    assert lines(run) == ["DEBUG before", "INFO during", "INFO after"]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process cannot be set on Windows")
def test_every_line_has_its_time_in_utc(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs of machines in different time zones can be laid side by side."""
    record = {"msg": "hello", "levelno": logging.INFO, "levelname": "INFO", "created": 0.25, "msecs": 250.0}
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        with recording(run):
            LOGGER.handle(logging.makeLogRecord(record))
    time.tzset()

    assert run.log.read_text() == "1970-01-01T00:00:00.250Z INFO hello\n"


def test_a_resumed_run_goes_on_in_its_log(run: RunFolder) -> None:
    """The log is added to, never begun again."""
    for text in ("first", "second"):
        with recording(run):
            Console(StringIO()).say(text)

    assert lines(run) == ["INFO first", "INFO second"]


def test_what_is_said_outside_a_run_is_in_no_log(run: RunFolder) -> None:
    """The log ends with the block."""
    with recording(run):
        pass
    Console(StringIO()).say("later")

    assert lines(run) == []


def test_an_error_of_the_users_makes_the_run_failed(run: RunFolder) -> None:
    """Every problem is in the log, the first one in run.json, no traceback anywhere."""
    with pytest.raises(ConfigError):
        raise_within(run, ConfigError(["one", "two"]))

    assert lines(run) == ["ERROR one", "ERROR two"]
    assert (run.read_facts()["state"], run.read_facts()["reason"]) == ("failed", "one")


def test_a_bug_makes_the_run_failed_and_leaves_its_traceback_in_the_log(run: RunFolder) -> None:
    """The run's log is where the command line will say it is."""
    error = ZeroDivisionError("by zero")
    with pytest.raises(ZeroDivisionError):
        raise_within(run, error)

    assert "raise error" in run.log.read_text()
    assert lines(run)[-1] == "ZeroDivisionError: by zero"
    assert (run.read_facts()["state"], run.read_facts()["reason"]) == ("failed", "ZeroDivisionError: by zero")
    assert bug_log(error, Path("never-used")) == run.log


def test_too_little_memory_makes_the_run_failed_and_is_no_bug(run: RunFolder) -> None:
    """The reason is in run.json and in the log, without a traceback, and what is raised has a remedy."""
    with pytest.raises(MachineError) as error:
        raise_within(run, MemoryError("Unable to allocate 28 GiB"))

    assert error.value.code == "machine-memory"
    assert "28 GiB" in run.read_facts()["reason"]
    assert len(lines(run)) == 1


def test_a_signal_makes_the_run_stopped(run: RunFolder) -> None:
    """It can go on; its log says what happened."""
    with pytest.raises(KeyboardInterrupt):
        raise_within(run, KeyboardInterrupt())

    assert lines(run) == ["INFO stopped by KeyboardInterrupt"]
    assert run.read_facts()["state"] == "stopped"


def test_a_run_that_is_gone_does_not_hide_the_error(run: RunFolder) -> None:
    """Where the failure cannot be recorded, the error itself is what comes out."""
    shutil.rmtree(run.path)
    run.path.mkdir()

    with pytest.raises(ConfigError, match="one"):
        raise_within(run, ConfigError("one"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_below_the_log_does_not_end_the_run(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be logged is lost, and nothing else."""
    run.log.symlink_to("/dev/full")
    with recording(run):
        Console(StringIO()).say("hello")

    assert capsys.readouterr().err == ""


def caught(message: str) -> Exception:
    """An exception with a traceback."""
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        return error


def test_a_bug_outside_a_run_is_logged_in_the_folder_of_the_runs(tmp_path: Path) -> None:
    """In a hidden folder, under the time; two in one second have two files."""
    logs = [bug_log(caught(f"number {k}"), tmp_path / "runs") for k in range(2)]

    assert len(set(logs)) == 2
    for k, log in enumerate(logs):
        assert log.parent == tmp_path / "runs" / ".logs"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z(-2)?\.log", log.name)
        assert log.read_text().startswith("cnncli ")
        assert log.read_text().rstrip().endswith(f"RuntimeError: number {k}")


def test_where_no_log_can_be_written_the_temporary_folder_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the runs may be a file, or read-only."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "runs").write_text("a file")
    log = bug_log(caught("oh"), tmp_path / "runs")

    assert log.is_relative_to(tmp_path / "temporary")
    assert "RuntimeError: oh" in log.read_text()
