"""Measure sides alternately, and store the findings as JSON lines: one file per group, one line per finding."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

R = TypeVar("R")
Clock = Callable[[], float]


@dataclass(frozen=True)
class Samples:
    """Values of one side, one per round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median value."""
        return statistics.median(self.values)

    @property
    def lowest(self) -> float:
        """Smallest value."""
        return min(self.values)

    @property
    def highest(self) -> float:
        """Largest value."""
        return max(self.values)

    def per_second(self, amount: float) -> Samples:
        """Convert the seconds for `amount` items to rates."""
        return Samples(tuple(amount / seconds for seconds in self.values))


def in_turns(sides: Mapping[str, Callable[[], R]], rounds: int) -> dict[str, list[R]]:
    """Call every side once per round, in order, so that the machine's load affects all sides equally.

    Returns:
        Results of each side, one per round.
    """
    found: dict[str, list[R]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
    return found


def seconds_in_turns(
    sides: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, Samples]:
    """Measure the seconds of each side alternately, after one uncounted call that compiles, traces and fills caches."""
    for side in sides.values():
        side()
    found = in_turns({name: timed(side, clock) for name, side in sides.items()}, rounds)
    return {name: Samples(tuple(values)) for name, values in found.items()}


def timed(side: Callable[[], object], clock: Clock = time.perf_counter) -> Callable[[], float]:
    """Return a function that makes the call and returns its duration in seconds."""

    def call() -> float:
        started = clock()
        side()
        return clock() - started

    return call


Comparison = Literal["rate", "time", "difference"]
"""How two sides are compared: rate, ours/theirs; time, theirs/ours, so that above 1 is less time; difference, ours −
theirs."""


@dataclass(frozen=True)
class Target:
    """Target of a finding.

    Attributes:
        of: Value to which the bounds apply: the ratio of both sides, or cnncli's median.
        least: Lower bound, or None.
        most: Upper bound, or None.
    """

    of: Literal["comparison", "cnncli"]
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Finding:
    """One result.

    Attributes:
        title: What was measured; unique within its group together with `other`.
        unit: Unit of the values of both sides.
        ours: Values of cnncli.
        other: Name of the other side, or empty.
        theirs: Values of the other side, or None.
        comparison: How the two are compared.
        target: Target, or None.
        note: Further information, such as that a value was extrapolated.
    """

    title: str
    unit: str
    ours: Samples
    other: str = ""
    theirs: Samples | None = None
    comparison: Comparison = "rate"
    target: Target | None = None
    note: str = ""

    @property
    def compared(self) -> float | None:
        """Ratio or difference of the two medians, or None if there is only one side."""
        if self.theirs is None:
            return None
        ours, theirs = self.ours.median, self.theirs.median
        return {"rate": lambda: ours / theirs, "time": lambda: theirs / ours, "difference": lambda: ours - theirs}[
            self.comparison
        ]()

    @property
    def is_reached(self) -> bool | None:
        """Whether the target was reached, or None without a target."""
        if self.target is None:
            return None
        value = self.compared if self.target.of == "comparison" else self.ours.median
        low, high = self.target.least, self.target.most
        return value is not None and (low is None or value >= low) and (high is None or value <= high)


@dataclass(frozen=True)
class Record:
    """A finding and the circumstances of its measurement.

    Attributes:
        group: Group of the benchmark.
        finding: Measured values.
        command: Command line that repeats the measurement.
        data: Name of the dataset.
        quick: Whether the benchmark ran with tiny sizes, so its values are meaningless.
        time: Time of the measurement (UTC, ISO 8601).
        load: Load average over the preceding minute.
        commit: Commit of cnncli.
        machine: Description returned by `machine.describe`.
    """

    group: str
    finding: Finding
    command: str
    data: str
    quick: bool
    time: str
    load: float
    commit: str
    machine: Mapping[str, str] = field(default_factory=dict)


def append(folder: Path, record: Record) -> None:
    """Append a line to the file of the record's group."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{record.group}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")


def read(folder: Path) -> list[Record]:
    """Read all records of a folder, sorted by time."""
    records = [
        _record(json.loads(line))
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return sorted(records, key=lambda record: record.time)


def newest(records: list[Record]) -> list[Record]:
    """Return the latest record of each finding and machine; full records take precedence over quick ones."""
    chosen: dict[tuple[str, ...], Record] = {}
    for record in records:
        key = (str(sorted(record.machine.items())), record.group, record.finding.title, record.finding.other)
        if key not in chosen or not record.quick or chosen[key].quick:
            chosen[key] = record
    return list(chosen.values())


def _record(document: dict[str, Any]) -> Record:
    finding = document["finding"]
    return Record(
        **{
            **document,
            "finding": Finding(
                **{
                    **finding,
                    "ours": _samples(finding["ours"]),
                    "theirs": _samples(finding["theirs"]) if finding["theirs"] else None,
                    "target": Target(**finding["target"]) if finding["target"] else None,
                }
            ),
        }
    )


def _samples(document: dict[str, list[float]]) -> Samples:
    return Samples(tuple(document["values"]))
