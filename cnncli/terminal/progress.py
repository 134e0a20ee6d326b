"""Progress of a task: how much is done, how fast, and how long the rest will take."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from cnncli.terminal.formatting import duration, rate

RATE_WINDOW_S = 15.0


class Meter:
    """Counts what is done and estimates the time left from the rate of the last 15 s.

    The first moments of a task are rarely typical, so an average since the beginning would mislead. A meter may be used
    from any thread.

    Args:
        description: a word or two.
        total: number of items, or None if it is unknown.
        unit: what is counted, in the plural.
        clock: returns seconds.
    """

    def __init__(self, description: str, total: int | None, unit: str, clock: Callable[[], float]) -> None:
        self.total, self.unit, self._clock = total, unit, clock
        self._lock = threading.Lock()
        self.restart(description)

    def restart(self, description: str) -> None:
        """Start again at zero, with another description."""
        self.description, self.done, self._start = description, 0, self._clock()
        self._marks = deque([(self._start, 0)])

    def set(self, done: int) -> None:
        """Set the number of items that are done."""
        with self._lock:
            self._set(done)

    def add(self, n: int) -> None:
        """Add to the number of items that are done."""
        with self._lock:
            self._set(self.done + n)

    def _set(self, done: int) -> None:
        now = self._clock()
        self.done = done
        self._marks.append((now, done))
        while now - self._marks[1][0] > RATE_WINDOW_S:
            self._marks.popleft()

    def text(self) -> str:
        """Return for example `1,200/4,000 · 980 images/s · 3 s left`, which fits next to a bar on 80 columns."""
        with self._lock:
            (then, before), (now, done) = self._marks[0], self._marks[-1]
        parts = [f"{done:,}" if self.total is None else f"{done:,}/{self.total:,}"]
        if now > then and done > before:
            speed = (done - before) / (now - then)
            parts.append(rate(speed, self.unit))
            if self.total is not None and done < self.total:
                parts.append(f"{duration((self.total - done) / speed)} left")
        return " · ".join(parts)

    def line(self) -> str:
        """Return the description and the text, for streams without bars."""
        return f"{self.description}: {self.text()}"

    def summary(self) -> str:
        """Return for example `4,000 images in 4.1 s · 980 images/s`."""
        seconds = self._clock() - self._start
        speed = f" · {rate(self.done / seconds, self.unit)}" if seconds > 0 and self.done else ""
        return f"{self.done:,} {self.unit} in {duration(seconds)}{speed}"


class Progress:
    """Progress of one task, as `Console.progress` yields it; may be used from any thread."""

    def __init__(self, meter: Meter, show: Callable[[], None]) -> None:
        self._meter, self._show = meter, show

    def advance(self, n: int = 1) -> None:
        """Report that `n` more items are done."""
        self._meter.add(n)
        self._show()

    def update(self, done: int) -> None:
        """Report how many items are done."""
        self._meter.set(done)
        self._show()


class EpochProgress:
    """Progress of the epochs of a stage, as `Console.training` yields it."""

    def __init__(
        self, meter: Meter, show: Callable[[], None], log: Callable[[str], None], stage: str, epochs: int, done: int
    ) -> None:
        self._meter, self._show, self._log = meter, show, log
        self._stage, self._epochs, self._done = stage, epochs, done
        meter.restart(self._title())

    def advance(self, images: int) -> None:
        """Report that one step has trained on this many images."""
        self._meter.add(images)
        self._show()

    def epoch_done(self, scores: str) -> None:
        """Report the end of an epoch, validation included, and start the next one.

        Args:
            scores: the metrics of the epoch as text.
        """
        self._log(f"{self._title()} · {scores}")
        self._done += 1
        self._meter.restart(self._title())

    def _title(self) -> str:
        return f"{self._stage} · epoch {self._done + 1}/{self._epochs}"
