"""Sides measured in turns, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

R = TypeVar("R")
Clock = Callable[[], float]


@dataclass(frozen=True)
class Samples:
    """What one side gave, a value a round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value that stands for the side."""
        return statistics.median(self.values)

    @property
    def lowest(self) -> float:
        """The smallest value."""
        return min(self.values)

    @property
    def highest(self) -> float:
        """The largest value."""
        return max(self.values)

    def per_second(self, amount: float) -> Samples:
        """Rates, where the values are the seconds that `amount` of something took."""
        return Samples(tuple(amount / seconds for seconds in self.values))


def in_turns(sides: Mapping[str, Callable[[], R]], rounds: int) -> dict[str, list[R]]:
    """What the sides return: in each round every side is called once, in their order."""
    found: dict[str, list[R]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
    return found


def seconds_in_turns(
    sides: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, Samples]:
    """The seconds that the sides take; all of them are called once before, uncounted, to compile, trace and cache."""
    for side in sides.values():
        side()
    found = in_turns({name: timed(side, clock) for name, side in sides.items()}, rounds)
    return {name: Samples(tuple(values)) for name, values in found.items()}


def timed(side: Callable[[], object], clock: Clock = time.perf_counter) -> Callable[[], float]:
    """The same call, giving the seconds that it took."""

    def call() -> float:
        started = clock()
        side()
        return clock() - started

    return call
