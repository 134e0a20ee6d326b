"""The first signal is raised or recorded; the second one ends the process."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from cnncli.runtime.signals import Terminated, noted, raising
from cnncli.runtime.threads import map_ordered

EXCEPTIONS = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: Terminated,
    signal.SIGXCPU: Terminated,
}


@pytest.mark.parametrize("number", EXCEPTIONS)
def test_the_first_signal_raises(number: signal.Signals) -> None:
    """Ctrl-C raises KeyboardInterrupt, other signals raise `Terminated`; `except Exception` catches neither."""
    with pytest.raises(EXCEPTIONS[number]) as caught, raising():
        signal.raise_signal(number)

    if isinstance(caught.value, Terminated):
        assert caught.value.exit_code == 128 + number


@pytest.mark.parametrize("number", EXCEPTIONS)
def test_a_signal_is_found_behind_the_exception_of_a_library(number: signal.Signals) -> None:
    """A signal is recognized as the cause of "initialization failed", raised by an extension module during import."""

    def imported() -> None:
        try:
            signal.raise_signal(number)
        except BaseException as error:
            raise ImportError("initialization failed") from error

    with pytest.raises(EXCEPTIONS[number]), raising():
        imported()
    with pytest.raises(ImportError), raising():
        raise ImportError("no such module")


@pytest.mark.parametrize("number", EXCEPTIONS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_a_destructor_swallows_is_obeyed_later(number: signal.Signals) -> None:
    """A signal raised in a destructor, which Python ignores, is raised again at the next image or training step."""

    class Interrupted:
        def __del__(self) -> None:
            signal.raise_signal(number)

    def step() -> None:
        Interrupted()
        with noted():
            raise AssertionError("not reached")

    def images() -> None:
        Interrupted()
        list(map_ordered(str, [1]))

    for work in (step, images):
        with pytest.raises(EXCEPTIONS[number]), raising():
            work()


@pytest.mark.parametrize("number", EXCEPTIONS)
def test_a_noted_signal_raises_when_it_is_obeyed(number: signal.Signals) -> None:
    """A noted signal is raised by `obey`, not before."""
    with noted() as stop:
        assert not stop
        stop.obey()
        signal.raise_signal(number)
        assert stop
        with pytest.raises(EXCEPTIONS[number]):
            stop.obey()


def test_the_previous_handlers_are_restored() -> None:
    """Handlers are restored after the block, including those of an enclosing block."""
    before = signal.getsignal(signal.SIGINT)
    with raising():
        outside = signal.getsignal(signal.SIGINT)
        with noted():
            assert signal.getsignal(signal.SIGINT) != outside
        assert signal.getsignal(signal.SIGINT) == outside
    assert signal.getsignal(signal.SIGINT) == before


TWO_SIGNALS = """
import signal, sys
from cnncli.runtime.signals import noted, raising
from cnncli.runtime.threads import map_ordered
handling, first, second = globals()[sys.argv[1]], *map(int, sys.argv[2:])
with handling():
    try:
        signal.raise_signal(first)
    except BaseException:
        pass
    signal.raise_signal(second)
"""


@pytest.mark.parametrize("how", ["raising", "noted"])
@pytest.mark.parametrize("first", EXCEPTIONS)
@pytest.mark.parametrize("second", EXCEPTIONS)
def test_a_second_urgent_signal_ends_the_process(how: str, first: signal.Signals, second: signal.Signals) -> None:
    """A second SIGINT or SIGTERM ends the process at once; SIGHUP and SIGXCPU can repeat and are then ignored."""
    command = [sys.executable, "-c", TWO_SIGNALS, how, str(int(first)), str(int(second))]

    expected = 128 + second if second in (signal.SIGINT, signal.SIGTERM) else 0
    assert subprocess.run(command).returncode == expected


@pytest.mark.parametrize("handling", [raising, noted])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGXCPU])
def test_an_ignored_signal_stays_ignored(
    handling: Callable[[], AbstractContextManager[object]], number: signal.Signals
) -> None:
    """Signals ignored at the start, as under nohup, stay ignored; SIGTERM is always handled."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with handling():
            signal.raise_signal(number)
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_another_thread_leaves_signals_alone() -> None:
    """Outside the main thread, as in some notebooks, signal handlers are not changed."""
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with noted() as stop:
            seen.append((bool(stop), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [(False, before)]


def test_work_is_saved_when_the_terminal_is_closed(tmp_path: Path) -> None:
    """After SIGHUP, a process that can no longer write to its terminal still saves its work."""
    process, terminal = pty.fork()
    if process == 0:
        _work_until_stopped(tmp_path / "saved")
    assert os.read(terminal, 100).strip() == b"working"
    os.close(terminal)
    _, status = os.waitpid(process, 0)

    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert (tmp_path / "saved").read_text() == "checkpoint"


def _work_until_stopped(path: Path) -> None:
    """Write a file when a signal arrives, and end the process with the exit code of the signal."""
    code = 1
    try:
        with noted() as stop:
            os.write(1, b"working\n")
            while not stop:
                signal.pause()
            path.write_text("checkpoint")
            stop.obey()
    except Terminated as stopped:
        code = stopped.exit_code
    finally:
        os._exit(code)
