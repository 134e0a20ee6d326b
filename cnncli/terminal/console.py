"""Messages and progress on stderr: bars on a terminal, plain lines otherwise. stdout is for results.

Messages go through the standard library's `logging`: any module logs to a logger below `cnncli`, and the console that
was created last shows the records (info unless quiet, debug if verbose, warnings and errors always). A run writes the
same records to its log.txt.

Everything shown is one line per message or table row: control characters, which a class or file name may contain, are
escaped here, so that no other module has to.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal, TextIO

from cnncli.errors import Message, printable
from cnncli.terminal.formatting import Column, encodable, fit_table, plain_table, right_aligned, wrap_text
from cnncli.terminal.progress import EpochProgress, Meter, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

FIRST_LINE_S = 10.0
"""Time until plain progress writes its first line; the time until the next one doubles, up to `LAST_LINE_S`."""

FIRST_EPOCH_LINE_S = 60.0
"""The same within an epoch, whose end is a line anyway."""

LAST_LINE_S = 300.0
BAR_EVERY_S = 0.1
PHASE_INDENT = 12
"""Width of the title of a phase, with the space behind it."""

BAR_WIDTH = 16

_RED, _YELLOW, _BOLD, _DIM = "31", "33", "1", "2"

LOGGER = logging.getLogger("cnncli")


class _ConsoleHandler(logging.Handler):
    """Shows log records on the current console."""

    console: Console | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless there is no console or it was written by `Console.table` or `Console.phase`."""
        if self.console is not None and not getattr(record, "is_shown", False):
            text = record.msg if isinstance(record.msg, Message) and not record.args else record.getMessage()
            self.console.show(record.levelno, text)


_HANDLER = _ConsoleHandler()  # also keeps logging's last resort from printing warnings a second time
LOGGER.addHandler(_HANDLER)
LOGGER.setLevel(logging.DEBUG)
_SHOWN = {"is_shown": True}


class Console:
    """Shows messages, tables and progress.

    Args:
        stream: a text stream; default: stderr.
        quiet: only show warnings and errors.
        verbose: also show debug messages.
        color: default: on a terminal, unless NO_COLOR is set.
        live: whether progress is a moving bar; default: on a terminal. `Console(live=False)` suits notebooks.
        clock: returns seconds, for rates and the time left.
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
        terminal = is_terminal(self.stream)
        self.quiet, self.verbose, self.clock = quiet, verbose, clock
        self.color = terminal and not os.environ.get("NO_COLOR") if color is None else color
        self.live = terminal if live is None else live
        self._bars: RichProgress | None = None
        _HANDLER.console = self

    @property
    def stream(self) -> TextIO | None:
        """Stream of the messages; None in a process without stderr."""
        return self._stream if self._stream is not None else sys.stderr

    def show(self, level: int, text: str) -> None:
        """Write a message if its level is shown: a warning or an error with its code.

        Args:
            level: of `logging`.
            text: usually a `Message`.
        """
        if level >= logging.WARNING:
            word, color = ("error:", _RED) if level >= logging.ERROR else ("warning:", _YELLOW)
            code = f"[{text.code}]" if isinstance(text, Message) and text.code else ""
            lines = self._wrapped(f"{word} {printable(text)} {code}".rstrip())
            lines = lines.removeprefix(word).removesuffix(code)
            self._write(f"{self._styled(word, color)}{lines}{self._styled(code, _DIM)}")
        elif not self.quiet and (level >= logging.INFO or self.verbose):
            self._write(self._wrapped(printable(text)))

    def phase(self, title: str, text: str = "") -> None:
        """Report the beginning or the outcome of a phase of the work.

        Args:
            title: a word or two.
            text: what there is to know.
        """
        LOGGER.info("%s: %s" if text else "%s%s", title, text, extra=_SHOWN)
        if not self.quiet:
            head = self._styled(title, _BOLD)
            lines = self._wrapped(printable(text), " " * PHASE_INDENT, f"{title:<{PHASE_INDENT - 1}} ")
            self._write(head + lines.removeprefix(title).rstrip())

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        title: str = "",
        to: Literal["stderr", "stdout"] = "stderr",
        optional: Sequence[str] = (),
    ) -> None:
        """Show a table: on a terminal fitted to its width, elsewhere complete and aligned by spaces.

        Args:
            columns: their headings; a column of numbers is aligned right.
            rows: a cell per column.
            title: a line above the table.
            to: stderr for a message, which --quiet silences; stdout for a result.
            optional: headings of columns that a narrow terminal need not show, the least important first.
        """
        title = printable(title)
        table: list[Column] = [[printable(cell) for cell in column] for column in zip(columns, *rows, strict=True)]
        text = "\n".join([title, plain_table(table)] if title else [plain_table(table)])
        stream = sys.stdout if to == "stdout" else self.stream
        if to == "stderr":
            LOGGER.info(text, extra=_SHOWN)
        if stream is None or (self.quiet and to == "stderr"):
            return
        if is_terminal(stream) and self._bars is None:
            _draw_table(stream, self.color, table, title, optional)
        elif to == "stderr":
            self._write(text)
        else:
            _write_line(stream, text)

    def print(self, text: str) -> None:
        """Write one line of the result to stdout."""
        if sys.stdout is not None:
            _write_line(sys.stdout, printable(text))

    @contextmanager
    def progress(self, total: int | None, description: str, unit: str = "images") -> Iterator[Progress]:
        """Show the progress of a task: how much is done, the rate and the time left, and at the end a summary.

        Args:
            total: number of items, or None if it is unknown.
            description: a word or two.
            unit: what is counted, in the plural.
        """
        meter = Meter(printable(description), total, unit, self.clock)
        with self._showing(meter, FIRST_LINE_S) as show:
            yield Progress(meter, show)
        if meter.done:
            LOGGER.info(f"{description}: {meter.summary()}")

    @contextmanager
    def training(self, stage: str, epochs: int, images: int, done: int = 0) -> Iterator[EpochProgress]:
        """Show the training of a stage: on a terminal a bar for each epoch, and a line when an epoch is done.

        Args:
            stage: its name.
            epochs: number of epochs that are planned.
            images: number of images in one epoch.
            done: number of epochs that were done before.
        """
        meter = Meter("", images, "images", self.clock)
        with self._showing(meter, FIRST_EPOCH_LINE_S) as show:
            yield EpochProgress(meter, show, LOGGER.info, printable(stage), epochs, done)

    @contextmanager
    def _showing(self, meter: Meter, first_line_s: float) -> Iterator[Callable[[], None]]:
        """Show a meter while the block runs; yield what is to be called after every change of it."""
        if self.quiet:
            yield lambda: None
        elif self.live:
            with self._rich() as bars:
                task = bars.add_task("", total=meter.total, text="")
                self._move(bars, task, meter)
                try:
                    yield _throttled(lambda: self._move(bars, task, meter), self.clock, BAR_EVERY_S, BAR_EVERY_S)
                finally:
                    bars.remove_task(task)
        else:
            yield _throttled(lambda: self._write(meter.line()), self.clock, first_line_s, LAST_LINE_S)

    def _move(self, bars: RichProgress, task: TaskID, meter: Meter) -> None:
        text, description = self._encodable(meter.text()), self._encodable(meter.description)
        bars.update(task, description=description, completed=meter.done, text=text, refresh=True)

    @contextmanager
    def _rich(self) -> Iterator[RichProgress]:
        """Yield the bars on the terminal; a task within a task adds a bar to those that are there."""
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
        # No refreshing thread: each change refreshes. What is printed to stdout meanwhile stays a result; rich would
        # redirect it to stderr.
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
            with suppress(OSError, ValueError):  # a closed stderr is no reason to end the work
                _write_line(self.stream, line)

    def _wrapped(self, text: str, indent: str = "", head: str = "") -> str:
        """Wrap a message between words on a terminal; in a file it stays one line."""
        if not is_terminal(self.stream):
            return head + text
        return "\n".join(wrap_text(text, shutil.get_terminal_size().columns, indent, head))

    def _styled(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and text else text

    def _encodable(self, text: str) -> str:
        return encodable(text, getattr(self.stream, "encoding", None))


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal that can move its cursor."""
    if stream is None or stream.closed:
        return False
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _write_line(stream: TextIO, line: str) -> None:
    stream.write(encodable(line, getattr(stream, "encoding", None)) + "\n")
    stream.flush()


def _throttled(
    action: Callable[[], None], clock: Callable[[], float], seconds: float, most_seconds: float
) -> Callable[[], None]:
    """Return an action that may be called at any rate and happens at growing intervals.

    Args:
        action: what to do.
        clock: returns seconds.
        seconds: time until the action happens first. Each time it happens, the interval doubles.
        most_seconds: longest interval.
    """
    last, interval = clock(), seconds

    def call() -> None:
        nonlocal last, interval
        now = clock()
        if now - last >= interval:
            last, interval = now, min(2 * interval, most_seconds)
            action()

    return call


def _draw_table(stream: TextIO, color: bool, columns: Sequence[Column], title: str, optional: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console as RichConsole
    from rich.table import Table
    from rich.text import Text

    screen = RichConsole(file=stream, no_color=not color, force_jupyter=False)
    fitted = fit_table(columns, screen.width, optional)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading, *cells in fitted:
        table.add_column(Text(heading), justify="right" if right_aligned(cells) else "left", no_wrap=True)
    for row in zip(*(cells for _, *cells in fitted), strict=True):
        table.add_row(*(Text(encodable(cell, stream.encoding)) for cell in row))
    if title:
        _write_line(stream, title)
    screen.print(table)
