"""Asked to stop: raised where nothing is open, noted where something is, and obeyed at once the second time."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from cnncli.runtime.signals import Terminated, noted, raising

EXCEPTIONS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


@pytest.mark.parametrize("number", EXCEPTIONS)
def test_the_first_signal_raises(number: signal.Signals) -> None:
    """Ctrl-C what Python raises for it, SIGTERM an exception of its own; no `except Exception` catches either."""
    with pytest.raises(EXCEPTIONS[number]), raising():
        signal.raise_signal(number)


@pytest.mark.parametrize("number", EXCEPTIONS)
def test_a_signal_is_seen_behind_what_a_library_made_of_it(number: signal.Signals) -> None:
    """An extension module that is being imported answers a signal with "initialization failed"."""

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
def test_a_noted_signal_raises_when_it_is_obeyed(number: signal.Signals) -> None:
    """Not before."""
    with noted() as stop:
        assert not stop
        stop.obey()
        signal.raise_signal(number)
        assert stop
        with pytest.raises(EXCEPTIONS[number]):
            stop.obey()


def test_what_was_before_comes_back() -> None:
    """Inside another's block too."""
    before = signal.getsignal(signal.SIGINT)
    with raising():
        outside = signal.getsignal(signal.SIGINT)
        with noted():
            assert signal.getsignal(signal.SIGINT) != outside
        assert signal.getsignal(signal.SIGINT) == outside
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("how", ["raising", "noted"])
@pytest.mark.parametrize("number", EXCEPTIONS)
def test_the_second_signal_ends_the_process(how: str, number: signal.Signals) -> None:
    """At once, with the exit code of the signal."""
    code = f"""
import signal
from cnncli.runtime.signals import {how}
with {how}():
    try:
        signal.raise_signal({int(number)})
    except BaseException:
        pass
    signal.raise_signal({int(number)})
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 128 + number


@pytest.mark.parametrize("handling", [raising, noted])
def test_a_ctrl_c_that_was_ignored_stays_so(handling: Callable[[], AbstractContextManager[object]]) -> None:
    """A shell starts the background jobs of a script so; SIGTERM is heard all the same."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with handling():
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_leaves_signals_alone() -> None:
    """Who runs cnncli in a thread of a notebook keeps its own handlers."""
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with noted() as stop:
            seen.append((bool(stop), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [(False, before)]
