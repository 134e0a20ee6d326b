"""Messages and progress on stderr: bars on a terminal, plain lines otherwise. stdout belongs to results.

Messages go through the standard library's `logging`: any module logs to a logger below `cnncli`, and the console that
was created last shows the records (info unless quiet, debug if verbose, warnings and errors always). A run writes the
same records to its log.txt.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal, TextIO

from cnncli.terminal.formatting import cell_width, encodable, plain_table, right_aligned
from cnncli.terminal.progress import Meter, Progress, Training

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

LINE_EVERY_S = 10.0
BAR_EVERY_S = 0.1
BAR_WIDTH = 16

LOGGER = logging.getLogger("cnncli")


class _ConsoleHandler(logging.Handler):
    """Shows log records on the current console."""

    console: Console | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless there is no console or it was written by `Console.table` or `Console.phase`."""
        if self.console is not None and not getattr(record, "is_shown", False):
            self.console.show(record)


_HANDLER = _ConsoleHandler()  # also keeps logging's last resort from printing warnings a second time
LOGGER.addHandler(_HANDLER)
LOGGER.setLevel(logging.DEBUG)
_SHOWN = {"is_shown": True}


class Console:
    """Where a recipe says what it does.

    Args:
        stream: a text stream; default: stderr.
        quiet: warnings alone.
        verbose: details too.
        color: default: on a terminal, unless NO_COLOR is set.
        live: bars that move; default: on a terminal. `Console(live=False)` suits notebooks and scripts.
        clock: seconds, for the rates and the time left.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        quiet: bool = False,
        verbose: bool = False,
        color: bool | None = None,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        terminal = _is_terminal(self.stream)
        self.quiet, self.verbose, self.clock = quiet, verbose, clock
        self.color = terminal and not os.environ.get("NO_COLOR") if color is None else color
        self.live = terminal if live is None else live
        self._bars: RichProgress | None = None
        _HANDLER.console = self

    @property
    def stream(self) -> TextIO | None:
        """Where messages go; None in a process that has no stderr."""
        return self._stream if self._stream is not None else sys.stderr

    def say(self, text: str) -> None:
        """Log an ordinary message."""
        self._log(logging.INFO, text)

    def detail(self, text: str) -> None:
        """Log a message that is shown with --verbose; the log of a run always has it."""
        self._log(logging.DEBUG, text)

    def warn(self, text: str) -> None:
        """Log a warning, which is shown despite --quiet."""
        self._log(logging.WARNING, text)

    def _log(self, level: int, text: str) -> None:
        _HANDLER.console = self
        LOGGER.log(level, text)

    def show(self, record: logging.LogRecord) -> None:
        """Write a log record if its level is shown."""
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._write(f"{self._styled('error:', '31')} {text}")
        elif record.levelno >= logging.WARNING:
            self._write(f"{self._styled('warning:', '33')} {text}")
        elif not self.quiet and (record.levelno >= logging.INFO or self.verbose):
            self._write(text)

    def phase(self, title: str, text: str = "") -> None:
        """The beginning or the outcome of one phase of the work: a short title, and what there is to know."""
        LOGGER.info("%s: %s" if text else "%s%s", title, text, extra=_SHOWN)
        if not self.quiet:
            self._write(f"{self._styled(f'{title:<11}', '1')} {text}".rstrip())

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        title: str = "",
        to: Literal["stderr", "stdout"] = "stderr",
    ) -> None:
        """A table of text: on a terminal drawn by rich, elsewhere aligned by spaces.

        Args:
            columns: their headings; a column of numbers is aligned right.
            rows: a cell per column.
            title: a line above it.
            to: stderr for a message, which --quiet silences; stdout for a result.
        """
        text = plain_table(columns, rows, title)
        stream = sys.stdout if to == "stdout" else self.stream
        drawn = _is_terminal(stream) and self._bars is None
        if to == "stderr":
            LOGGER.info(text, extra=_SHOWN)
        if stream is None or (self.quiet and to == "stderr"):
            return
        if drawn:
            _rich_table(stream, self.color, columns, rows, title)
        elif to == "stderr":
            self._write(text)
        else:
            _write_line(stream, text)

    @contextmanager
    def progress(self, total: int | None, description: str, unit: str = "images") -> Iterator[Progress]:
        """Show how far a piece of work is, its rate and the time left; ends with one line about the whole.

        Args:
            total: how many there are to do, None where that is unknown.
            description: a word or two.
            unit: what is counted, in the plural.
        """
        meter = Meter(description, total, unit, self.clock)
        with self._shown(meter) as show:
            yield Progress(meter, show)
        if meter.done:
            self.say(f"{description}: {meter.summary()}")

    @contextmanager
    def training(self, stage: str, epochs: int, images: int, done: int = 0) -> Iterator[Training]:
        """Show the training of a stage: a bar for each epoch on a terminal, and a line at its end anywhere.

        Args:
            stage: its name.
            epochs: how many are planned.
            images: in one epoch.
            done: epochs that were over before.
        """
        training = Training(Meter("", images, "images", self.clock), self.say, stage, epochs, done)
        with self._shown(training.meter) as training.show:
            yield training

    @contextmanager
    def _shown(self, meter: Meter) -> Iterator[Callable[[], None]]:
        """Show a meter as long as the block runs; gives what is to be called after every change of it."""
        if self.quiet:
            yield lambda: None
        elif self.live:
            with self._rich() as bars:
                task = bars.add_task("", total=meter.total, text="")
                self._move(bars, task, meter)
                try:
                    yield _every(BAR_EVERY_S, self.clock, lambda: self._move(bars, task, meter))
                finally:
                    bars.remove_task(task)
        else:
            yield _every(LINE_EVERY_S, self.clock, lambda: self._write(f"{meter.description}: {meter.text()}"))

    def _move(self, bars: RichProgress, task: TaskID, meter: Meter) -> None:
        text, description = self._encodable(meter.text()), self._encodable(meter.description)
        bars.update(task, description=description, completed=meter.done, text=text, refresh=True)

    @contextmanager
    def _rich(self) -> Iterator[RichProgress]:
        """The bars on the terminal; work inside work adds a bar to those that are there."""
        if self._bars is not None:
            yield self._bars
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        screen = RichConsole(file=self.stream, no_color=not self.color, force_terminal=True, force_jupyter=False)
        words = TextColumn("{task.description}", markup=False)
        bar = BarColumn(BAR_WIDTH, complete_style="green", finished_style="green")
        columns = (words, bar, TextColumn("{task.fields[text]}", markup=False))
        # No thread that refreshes: whoever advances does. What is printed to stdout meanwhile stays a result, which
        # rich would move to stderr.
        bars = RichProgress(*columns, console=screen, transient=True, auto_refresh=False, redirect_stdout=False)
        with bars as self._bars:
            try:
                yield self._bars
            finally:
                self._bars = None

    def _write(self, line: str) -> None:
        if self._bars is not None:
            self._bars.console.out(self._encodable(line), highlight=False)
        elif self.stream is not None:
            with suppress(OSError, ValueError):  # nobody listens any more: no reason to end the work
                _write_line(self.stream, line)

    def _styled(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text

    def _encodable(self, text: str) -> str:
        return encodable(text, getattr(self.stream, "encoding", None))


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that can move its cursor."""
    if stream is None or stream.closed:
        return False
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _write_line(stream: TextIO, line: str) -> None:
    stream.write(encodable(line, getattr(stream, "encoding", None)) + "\n")
    stream.flush()


def _every(seconds: float, clock: Callable[[], float], action: Callable[[], None]) -> Callable[[], None]:
    """An action that may be called at any rate and happens at most once in so many seconds, first after them."""
    last = [clock()]

    def call() -> None:
        now = clock()
        if now - last[0] >= seconds:
            last[0] = now
            action()

    return call


def _rich_table(stream: TextIO, color: bool, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console as RichConsole
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for k, column in enumerate(columns):
        side: Literal["right", "left"] = "right" if right_aligned([row[k] for row in rows]) else "left"
        table.add_column(Text(column), justify=side, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(encodable(cell, stream.encoding)) for cell in row))
    screen = RichConsole(file=stream, no_color=not color, force_jupyter=False)
    # Cells are neither cut nor folded: a table that is too wide goes on in the next line, and can still be copied from.
    width = sum(max(cell_width(cell) for cell in column) + 2 for column in zip(columns, *rows, strict=True)) + 2
    screen.width = max(screen.width, width)
    if title:
        _write_line(stream, title)
    screen.print(table)
