"""Messages and progress on stderr: bars on a terminal, plain lines otherwise. stdout is for results.

Messages go through `logging`: every module logs to a logger below `cnncli`, and the newest console shows the records
(info unless quiet, debug if verbose, warnings and errors always). Control characters, which class and file names can
contain, are escaped here, so that no other module has to.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from cnncli.errors import Message, printable
from cnncli.terminal.formatting import duration, encodable, fit_table, plain_table, rate, table_width, wrap_text

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

FIRST_LINE_S, FIRST_EPOCH_LINE_S, LAST_LINE_S = 10.0, 60.0, 300.0
"""Time until plain progress writes its first line, the same within an epoch (whose end is always a line), and the
maximum time between two lines."""
BAR_EVERY_S = 0.1
RATE_WINDOW_S = 15.0
BAR_WIDTH = 16
PHASE_INDENT = 12
"""Width of the title of a phase, with the space behind it."""

_RED, _YELLOW, _BOLD, _DIM = "31", "33", "1", "2"

LOGGER = logging.getLogger("cnncli")


class _ConsoleHandler(logging.Handler):
    """Shows log records on the current console."""

    console: Console | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless there is no console or `Console.phase` has written it."""
        if self.console is not None and not getattr(record, "is_shown", False):
            text = record.msg if isinstance(record.msg, Message) and not record.args else record.getMessage()
            self.console.show(record.levelno, text, is_once=getattr(record, "is_once", False))


_HANDLER = _ConsoleHandler()  # also keeps logging's last-resort handler from printing warnings again
LOGGER.addHandler(_HANDLER)
LOGGER.setLevel(logging.DEBUG)
SHOWN = {"is_shown": True}
"""Marks records that the console skips, because the command line shows them in a different form."""
ONCE = {"is_once": True}
"""Marks records of which a console shows only the first with the same text."""


class Progress:
    """Counts completed items, from any thread, and estimates the time left from the rate of the last 15 s.

    The start of a task is rarely typical, so the average rate since the start would mislead.
    """

    def __init__(self, description: str, total: int | None, unit: str, clock: Callable[[], float]) -> None:
        self.total, self.unit, self._clock = total, unit, clock
        self._lock = threading.RLock()
        self._show: Callable[[], None] | None = None
        self.restart(description)

    def restart(self, description: str) -> None:
        """Start again at zero, with a new description."""
        self.description, self.done, self._start = description, 0, self._clock()
        self._marks = deque([(self._start, 0)])

    def show_with(self, show: Callable[[], None], first_s: float, longest_s: float) -> None:
        """Call `show` after changes from now on, first after `first_s`, then at intervals that double."""
        self._show, self._shown_at, self._interval_s, self._longest_s = show, self._clock(), first_s, longest_s

    def advance(self, n: int = 1) -> None:
        """Report that `n` more items are done."""
        with self._lock:
            self.update(self.done + n)

    def update(self, done: int) -> None:
        """Report the number of completed items."""
        with self._lock:
            now = self._clock()
            self.done = done
            self._marks.append((now, done))
            while now - self._marks[1][0] > RATE_WINDOW_S:
                self._marks.popleft()
            if self._show and now - self._shown_at >= self._interval_s:
                self._shown_at, self._interval_s = now, min(2 * self._interval_s, self._longest_s)
                self._show()

    def text(self) -> str:
        """Return text such as `1,200/4,000 · 980 images/s · 3 s left`, which fits next to a bar on 80 columns."""
        with self._lock:
            (then, before), (now, done) = self._marks[0], self._marks[-1]
        parts = [f"{done:,}" if self.total is None else f"{done:,}/{self.total:,}"]
        if now > then and done > before:
            speed = (done - before) / (now - then)
            parts.append(rate(speed, self.unit))
            if self.total is not None and done < self.total:
                parts.append(f"{duration((self.total - done) / speed)} left")
        return " · ".join(parts)

    def summary(self) -> str:
        """Return text such as `4,000 images in 4.1 s · 980 images/s`."""
        seconds = self._clock() - self._start
        speed = f" · {rate(self.done / seconds, self.unit)}" if seconds > 0 and self.done > 1 else ""
        unit = "image" if (self.done, self.unit) == (1, "images") else self.unit
        return f"{self.done:,} {unit} in {duration(seconds)}{speed}"


class EpochProgress(Progress):
    """Progress of the epochs of a stage; `advance` counts the training images of the current epoch."""

    def __init__(self, stage: str, epochs: int, images: int, done: int, clock: Callable[[], float]) -> None:
        self._stage, self._epochs, self._epochs_done = stage, epochs, done
        super().__init__(self._title(), images, "images", clock)

    def epoch_done(self, scores: str) -> None:
        """Report the end of an epoch, including validation, with its metrics, and start the next one."""
        LOGGER.info(f"{self._title()} · {scores}")
        self._epochs_done += 1
        self.restart(self._title())

    def _title(self) -> str:
        return f"{self._stage} · epoch {self._epochs_done + 1}/{self._epochs}"


class Console:
    """Shows messages, tables and progress.

    Args:
        stream: A text stream; default: stderr.
        quiet: Only show warnings and errors.
        verbose: Also show debug messages.
        color: Default: on a terminal, unless NO_COLOR is set.
        live: Whether progress is a moving bar; default: on a terminal. `Console(live=False)` suits notebooks.
        clock: Function that returns seconds, for rates and the time left.
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
        self._shown_once: set[str] = set()
        _HANDLER.console = self

    @property
    def stream(self) -> TextIO | None:
        """Stream of the messages; None in a process without stderr."""
        return self._stream if self._stream is not None else sys.stderr

    def show(self, level: int, text: str, *, is_once: bool = False) -> None:
        """Write a message if its `logging` level is shown; warnings and errors include their code.

        With `is_once`, a text that was written before is skipped.
        """
        if is_once and text in self._shown_once:
            return
        if is_once:
            self._shown_once.add(str(text))
        if level >= logging.WARNING:
            word, color = ("error:", _RED) if level >= logging.ERROR else ("warning:", _YELLOW)
            code = f"[{text.code}]" if isinstance(text, Message) and text.code else ""
            lines = self._wrap(f"{word} {printable(text)} {code}".rstrip())
            lines = lines.removeprefix(word).removesuffix(code)
            self._write(f"{self._style(word, color)}{lines}{self._style(code, _DIM)}")
        elif not self.quiet and (level >= logging.INFO or self.verbose):
            self._write(self._wrap(printable(text)))

    def phase(self, title: str, text: str = "") -> None:
        """Report the start or the result of a phase, under a title of one or two words."""
        LOGGER.info("%s: %s" if text else "%s%s", title, text, extra=SHOWN)
        if not self.quiet:
            head = self._style(title, _BOLD)
            lines = self._wrap(printable(text), " " * PHASE_INDENT, f"{title:<{PHASE_INDENT - 1}} ")
            self._write(head + lines.removeprefix(title).rstrip())

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], optional: Sequence[str] = ()) -> None:
        """Write a table to stdout, fitted to the width of a terminal, or complete if stdout is a file.

        A narrow terminal omits the columns with the headings `optional`, the least important first.
        """
        table = [[printable(cell) for cell in column] for column in zip(columns, *rows, strict=True)]
        text = plain_table(table)
        if is_terminal(sys.stdout):
            table = fit_table(table, shutil.get_terminal_size().columns, optional)
            n_headings = max(column[0].count("\n") + 1 for column in table)
            lines = plain_table(table).split("\n")
            headings = [self._style(line, _BOLD) for line in lines[:n_headings]]
            text = "\n".join([*headings, "─" * table_width(table), *lines[n_headings:]])
        _write_line(sys.stdout, text)

    def print(self, text: str) -> None:
        """Write one line of the result to stdout."""
        _write_line(sys.stdout, printable(text))

    @contextmanager
    def progress(self, total: int | None, description: str, unit: str = "images") -> Iterator[Progress]:
        """Show the progress of a task of `total` items (None if unknown), and a summary at the end."""
        progress = Progress(printable(description), total, unit, self.clock)
        with self._show_progress(progress, FIRST_LINE_S):
            yield progress
        if progress.done:
            LOGGER.info(f"{description}: {progress.summary()}")

    @contextmanager
    def training(self, stage: str, epochs: int, images: int, done: int = 0) -> Iterator[EpochProgress]:
        """Show the training of a stage: a line per epoch and, on a terminal, a bar for the current one.

        `images` is the number of images per epoch, and `done` the number of completed epochs.
        """
        progress = EpochProgress(printable(stage), epochs, images, done, self.clock)
        with self._show_progress(progress, FIRST_EPOCH_LINE_S):
            yield progress

    @contextmanager
    def _show_progress(self, progress: Progress, first_line_s: float) -> Iterator[None]:
        """Show progress inside the block."""
        if self.quiet:
            yield
        elif self.live:
            with self._rich() as bars:
                task = bars.add_task("", total=progress.total, text="")
                self._move(bars, task, progress)
                progress.show_with(lambda: self._move(bars, task, progress), BAR_EVERY_S, BAR_EVERY_S)
                try:
                    yield
                finally:
                    bars.remove_task(task)
        else:
            progress.show_with(
                lambda: self._write(f"{progress.description}: {progress.text()}"), first_line_s, LAST_LINE_S
            )
            yield

    def _move(self, bars: RichProgress, task: TaskID, progress: Progress) -> None:
        text, description = self._encodable(progress.text()), self._encodable(progress.description)
        bars.update(task, description=description, completed=progress.done, text=text, refresh=True)

    @contextmanager
    def _rich(self) -> Iterator[RichProgress]:
        """Yield the bars on the terminal; a nested task adds a bar to the existing ones."""
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
        # There is no refreshing thread, because each change refreshes. Rich must not redirect stdout to stderr.
        bars = RichProgress(*columns, console=screen, transient=True, auto_refresh=False, redirect_stdout=False)
        with bars as self._bars:
            try:
                yield self._bars
            finally:
                self._bars = None

    def _write(self, line: str) -> None:
        if self._bars is not None:
            self._bars.console.out(self._encodable(line), highlight=False)
        else:
            with suppress(OSError, ValueError):  # a closed stderr must not end the work
                _write_line(self.stream, line)

    def _wrap(self, text: str, indent: str = "", head: str = "") -> str:
        """Wrap a message between words on a terminal; in a file it remains one line."""
        if not is_terminal(self.stream):
            return head + text
        return "\n".join(wrap_text(text, shutil.get_terminal_size().columns, indent, head))

    def _style(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and text else text

    def _encodable(self, text: str) -> str:
        return encodable(text, getattr(self.stream, "encoding", None))


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal that can move its cursor."""
    if stream is None or stream.closed:
        return False
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _write_line(stream: TextIO | None, line: str) -> None:
    if stream is not None:
        stream.write(encodable(line, getattr(stream, "encoding", None)) + "\n")
        stream.flush()
