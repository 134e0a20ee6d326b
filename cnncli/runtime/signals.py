"""Signals that ask to stop: the first lets what is open be closed, a second one ends the process at once.

Outside a training the first one raises, wherever the program is. A training notes it instead and stops at the next
place where nothing is half done.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Terminated(BaseException):
    """SIGTERM arrived."""


def told(stop: BaseException) -> None:
    """Note that somebody has said what there is to say about the end that this exception brings."""
    stop.is_told = True  # type: ignore[attr-defined]


def is_told(stop: BaseException) -> bool:
    """Whether `told` was called for it."""
    return getattr(stop, "is_told", False)


_EXCEPTIONS: dict[int, type[BaseException]] = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


class Stop:
    """Whether somebody asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def obey(self) -> None:
        """Raise what the signal would have raised: KeyboardInterrupt or `Terminated`; nothing where there was none."""
        if self.signal is not None:
            raise _EXCEPTIONS[self.signal]


@contextmanager
def raising() -> Iterator[None]:
    """Inside, the first SIGINT raises KeyboardInterrupt, the first SIGTERM `Terminated`.

    As in `noted`, a SIGINT that the process was started to ignore stays ignored.
    """
    stop = Stop()
    with _handling(stop, stop.obey), unwrapped():
        yield


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise a signal's exception again where a library made another one of it, such as an import that it broke off."""
    try:
        yield
    except Exception as error:
        behind: BaseException | None = error
        while behind is not None and not isinstance(behind, tuple(_EXCEPTIONS.values())):
            behind = behind.__cause__ or behind.__context__
        if behind is None:
            raise
        raise behind from None


@contextmanager
def noted() -> Iterator[Stop]:
    """Inside, the first SIGINT or SIGTERM is noted in the `Stop` that the block is given, and nothing is raised."""
    stop = Stop()
    with _handling(stop, lambda: None):
        yield stop


@contextmanager
def _handling(stop: Stop, on_first: Callable[[], None]) -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - Python passes it
        if stop:
            os.write(2, b"ended at once\n")  # a print may be what was interrupted
            os._exit(128 + number)
        stop.signal = number
        on_first()

    if threading.current_thread() is not threading.main_thread():  # someone else's process, someone else's signals
        yield
        return
    heard = [number for number in _EXCEPTIONS if not (number == signal.SIGINT and _is_ignored(number))]
    before: dict[int, Any] = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_ignored(number: int) -> bool:
    """As a shell lets the jobs do that a script puts into the background: Ctrl-C is for those in front."""
    return signal.getsignal(number) is signal.SIG_IGN
