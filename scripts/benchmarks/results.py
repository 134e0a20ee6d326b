"""What was measured, kept as JSON lines: one file for each group, one line for each figure and measurement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from scripts.benchmarks.timing import Samples

Comparison = Literal["rate", "time", "difference"]
"""How two sides become one number: rate, ours/theirs; time, theirs/ours, so that above 1 is less time; difference,
ours − theirs."""


@dataclass(frozen=True)
class Reach:
    """What a figure should reach.

    Attributes:
        of: the comparison of both sides, or cnncli's own median.
        least, most: bounds that still count, None for none.
    """

    of: Literal["comparison", "cnncli"]
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Finding:
    """One figure, measured.

    Attributes:
        figure: what was measured; with `other`, unique within its group.
        unit: of both sides' values.
        ours: cnncli's.
        other: what the other side is; empty for none.
        theirs: the other side's values, None for none.
        comparison: how the two are compared.
        reach: what should be reached, None where the figure is only stated.
        note: what a reader must know beside it, such as that a value was extrapolated.
    """

    figure: str
    unit: str
    ours: Samples
    other: str = ""
    theirs: Samples | None = None
    comparison: Comparison = "rate"
    reach: Reach | None = None
    note: str = ""

    @property
    def compared(self) -> float | None:
        """The comparison of the two medians; None without another side."""
        if self.theirs is None:
            return None
        ours, theirs = self.ours.median, self.theirs.median
        return {"rate": lambda: ours / theirs, "time": lambda: theirs / ours, "difference": lambda: ours - theirs}[
            self.comparison
        ]()

    @property
    def is_reached(self) -> bool | None:
        """Whether it reached what it should; None where nothing was asked for."""
        if self.reach is None:
            return None
        value = self.compared if self.reach.of == "comparison" else self.ours.median
        low, high = self.reach.least, self.reach.most
        return value is not None and (low is None or value >= low) and (high is None or value <= high)


@dataclass(frozen=True)
class Record:
    """A finding with how it came about.

    Attributes:
        group: the benchmark.
        finding: what was found.
        command: measures it again.
        data: which images it was measured on.
        quick: whether counts were tiny: then it is not to be quoted.
        time: UTC, ISO 8601.
        load: average of the last minute before the measurement began.
        commit: of cnncli.
        machine: see `machine.describe`.
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
    """Add a line to the file of the record's group."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{record.group}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")


def read(folder: Path) -> list[Record]:
    """All records of a folder, in the order in which they were written."""
    records = [
        _record(json.loads(line))
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return sorted(records, key=lambda record: record.time)


def newest(records: list[Record]) -> list[Record]:
    """The latest record of each figure and machine, in the order of their first; a full one goes before a quick one."""
    chosen: dict[tuple[str, ...], Record] = {}
    for record in records:
        key = (str(sorted(record.machine.items())), record.group, record.finding.figure, record.finding.other)
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
                    "reach": Reach(**finding["reach"]) if finding["reach"] else None,
                }
            ),
        }
    )


def _samples(document: dict[str, list[float]]) -> Samples:
    return Samples(tuple(document["values"]))
