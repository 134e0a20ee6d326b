"""How far a piece of work is: counting, rates, time left, and the figures of an epoch as a line."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from cnncli.terminal.formatting import duration, figure, rate

RATE_OVER_S = 15.0


class Meter:
    """How much is done, how fast, and how long the rest will take.

    The time left follows the rate of the last 15 s, since the first moments of a piece of work are rarely typical.
    """

    def __init__(self, description: str, total: int | None, unit: str, clock: Callable[[], float]) -> None:
        self.description, self.total, self.unit, self._clock = description, total, unit, clock
        self._lock = threading.Lock()
        self.restart(description)

    def restart(self, description: str) -> None:
        """Begin again at nothing done."""
        self.description, self.done, self._start = description, 0, self._clock()
        self._marks = deque([(self._start, 0)])

    def set(self, done: int) -> None:
        """So many are done."""
        with self._lock:
            self._set(done)

    def add(self, n: int) -> None:
        """So many more are done."""
        with self._lock:
            self._set(self.done + n)

    def _set(self, done: int) -> None:
        now = self._clock()
        self.done = done
        self._marks.append((now, done))
        while now - self._marks[1][0] > RATE_OVER_S:
            self._marks.popleft()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock() - self._start

    def text(self) -> str:
        """`1,200/4,000 · 980 images/s · 3 s left`, which fits beside a bar on 80 columns."""
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
        """`4,000 images in 4.1 s · 980 images/s`."""
        seconds = self.seconds
        speed = f" · {rate(self.done / seconds, self.unit)}" if seconds > 0 and self.done else ""
        return f"{self.done:,} {self.unit} in {duration(seconds)}{speed}"


class Progress:
    """What `Console.progress` hands out; any thread may call it."""

    def __init__(self, meter: Meter, show: Callable[[], None]) -> None:
        self._meter, self._show = meter, show

    def advance(self, n: int = 1) -> None:
        """So many more are done."""
        self._meter.add(n)
        self._show()

    def update(self, done: int) -> None:
        """So many are done by now."""
        self._meter.set(done)
        self._show()


class EpochFigures(Protocol):
    """What a line about an epoch shows; a row of the history has it."""

    @property
    def loss(self) -> float: ...  # noqa: D102
    @property
    def accuracy(self) -> float: ...  # noqa: D102
    @property
    def val_loss(self) -> float: ...  # noqa: D102
    @property
    def val_accuracy(self) -> float: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102
    @property
    def images_per_s(self) -> float: ...  # noqa: D102


class Training:
    """What `Console.training` hands out: `advance` after each step, `epoch_done` with the figures of an epoch."""

    def __init__(self, meter: Meter, say: Callable[[str], None], stage: str, epochs: int, done: int = 0) -> None:
        self.meter = meter
        self.show: Callable[[], None] = lambda: None
        self._say, self._stage, self._epochs = say, stage, epochs
        self._before = self._done = done
        self._seconds = 0.0
        self._begin()

    def _begin(self) -> None:
        self.meter.restart(f"{self._stage} · epoch {self._done + 1}/{self._epochs}")

    def advance(self, images: int) -> None:
        """One step trained on so many images."""
        self.meter.add(images)
        self.show()

    def epoch_done(self, figures: EpochFigures) -> None:
        """An epoch is over, its validation included; the next one begins."""
        self._done, self._seconds = self._done + 1, self._seconds + figures.seconds
        left = (self._epochs - self._done) * self._seconds / (self._done - self._before)
        self._say(epoch_line(self._stage, self._done, self._epochs, figures, left))
        self._begin()


def epoch_line(stage: str, epoch: int, epochs: int, figures: EpochFigures, left_s: float) -> str:
    """`head · epoch 3/20 · loss 0.120 · accuracy 0.974 · val_loss 0.101 · … · 1,900 images/s · 4.0 s left`."""
    names = ("loss", "accuracy", "val_loss", "val_accuracy")
    parts = [stage, f"epoch {epoch}/{epochs}", *(f"{name} {figure(getattr(figures, name))}" for name in names)]
    parts.append(rate(figures.images_per_s, "images"))
    parts += [f"{duration(left_s)} left"] if epoch < epochs else []
    return " · ".join(parts)
