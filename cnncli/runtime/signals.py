"""Signals that ask the process to stop: the first lets it finish open work, the second ends it at once.

Outside training, the first signal raises immediately. Training records it instead and stops after the current step.
SIGQUIT keeps its default, which ends a process without cleaning up.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from cnncli.runtime.machine import causes

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU", "SIGBREAK")
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))

# These end the process when they arrive second. The others repeat on their own: when a terminal is closed, kernel and
# shell both send SIGHUP, and SIGXCPU is sent every second.
_URGENT = (signal.SIGINT, signal.SIGTERM)


class Terminated(BaseException):
    """A signal other than SIGINT asked the process to end, with exit code 128 + the number of the signal."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def mark_reported(stop: BaseException) -> None:
    """Mark an exception as already reported to the user."""
    stop.is_reported = True  # type: ignore[attr-defined]  # the built-in KeyboardInterrupt has no field for it


def is_reported(stop: BaseException) -> bool:
    """Return whether `mark_reported` was called for an exception."""
    return getattr(stop, "is_reported", False)


class Stop:
    """A request to stop: the number of the first signal, or None."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def obey(self) -> None:
        """Raise KeyboardInterrupt or `Terminated` if a signal arrived."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise Terminated(self.signal)


@contextmanager
def raising() -> Iterator[None]:
    """Raise on the first signal: KeyboardInterrupt for SIGINT, `Terminated` for the others.

    Signals that were ignored when the process started stay ignored, except SIGTERM: `nohup` ignores SIGHUP, and shells
    ignore SIGINT in background jobs of scripts.
    """
    stop = Stop()
    _raising.append(stop)
    try:
        with _handling(stop, stop.obey), unwrapped():
            yield
    finally:
        _raising.remove(stop)


_raising: list[Stop] = []


def obey_again() -> None:
    """Raise a signal's exception again if the interrupted code swallowed it.

    Python ignores exceptions in destructors, and libraries convert those of callbacks to their own errors.
    """
    if _raising and threading.current_thread() is threading.main_thread():
        _raising[-1].obey()


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise a signal's exception instead of the one that replaced it, such as after an interrupted import."""
    try:
        yield
    except Exception as error:
        stop = next((cause for cause in causes(error) if isinstance(cause, KeyboardInterrupt | Terminated)), None)
        if stop is None:
            raise
        raise stop from None


@contextmanager
def noted() -> Iterator[Stop]:
    """Record the first signal in the yielded `Stop` instead of raising."""
    obey_again()
    stop = Stop()
    with _handling(stop, lambda: None):
        yield stop


@contextmanager
def _handling(stop: Stop, on_first: Callable[[], None]) -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - Python passes it
        if not stop:
            stop.signal = number
            on_first()
        elif number in _URGENT:
            with suppress(OSError):  # the terminal may be closed
                os.write(2, b"ended at once\n")  # a print may have been interrupted
            os._exit(128 + number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # the thread of another program, which keeps its handlers
        before = {}
    handled = {n: old for n, old in before.items() if n == signal.SIGTERM or old is not signal.SIG_IGN}
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, old in handled.items():
            signal.signal(number, old)
