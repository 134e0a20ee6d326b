"""Progress of a task: items done, rate, and estimated time left."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from cnncli.terminal.formatting import duration, rate

LOGGER = logging.getLogger("cnncli")
RATE_WINDOW_S = 15.0


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
        speed = f" · {rate(self.done / seconds, self.unit)}" if seconds > 0 and self.done else ""
        return f"{self.done:,} {self.unit} in {duration(seconds)}{speed}"


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
