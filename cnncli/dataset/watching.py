"""Progress of work on a dataset, shown once it takes long enough to matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from cnncli.terminal.console import Console
from cnncli.terminal.progress import Progress as Bar

Progress = Callable[[int, int], None]
"""Receives the number of items done and the number of all items."""

SILENT_S = 3.0
"""Comparisons that take less are not shown."""


@dataclass(frozen=True)
class Watching:
    """Receivers of progress.

    Attributes:
        verifying: receives the number of images verified and in total.
        comparing: receives the number of comparisons done and in total.
    """

    verifying: Progress | None = None
    comparing: Progress | None = None


UNWATCHED = Watching()


@contextmanager
def watching(console: Console) -> Iterator[Watching]:
    """Show progress on a console: from the first image that is read, and for comparisons that take long."""
    with ExitStack() as stack:
        yield Watching(_verifying(console, stack), _comparing(console, stack))


def _verifying(console: Console, stack: ExitStack) -> Progress:
    bars: list[Bar] = []

    def update(done: int, total: int) -> None:
        if not bars:
            bars.append(stack.enter_context(console.progress(total, "checking images")))
        bars[0].update(done)

    return update


def _comparing(console: Console, stack: ExitStack) -> Progress:
    bars: list[Bar] = []
    started: float | None = None

    def update(done: int, total: int) -> None:
        nonlocal started
        started = console.clock() if started is None else started
        if not bars and console.clock() - started > SILENT_S:
            millions = console.progress(total // 10**6, "comparing images", "million pairs")
            bars.append(stack.enter_context(millions))
        if bars:
            bars[0].update(done // 10**6)

    return update
