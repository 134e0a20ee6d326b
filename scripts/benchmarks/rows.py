"""Measure sides alternately, keep the results as JSON, and write the table of the documentation from them."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cnncli.runtime.environment import cpu, git, package_version

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "scripts" / "results"
PAGE = ROOT / "docs" / "explanation" / "performance.md"
BEGIN, END = "<!-- results of scripts/bench.py -->\n", "<!-- end of results -->"
OURS = "cnncli"
RESULTS_ORDER = ("cold", "warm", "predict", "forward", "files", "int8", "solver", "letters", "finetune", "scratch")
OTHERS_ORDER = ("timm", "yolo", "limit", "start")
"""Groups in the order of the documentation: results, and comparisons with other tools and limits."""
MAX_LISTED = 3
"""Number of networks up to which a summary lists the value of each."""
PACKAGES = ("tensorflow", "keras", "openvino", "nncf", "numpy", "scikit-learn")
ISA_LIMIT = "ONEDNN_MAX_CPU_ISA"
"""Environment variable that makes oneDNN, and so TensorFlow and OpenVINO, ignore newer instructions of a processor."""


@dataclass(frozen=True)
class Row:
    """A result.

    Attributes:
        title: What was measured. Rows with one title become one row of the documentation, with a line for each.
        unit: Unit of the values: `s`, `images/s` or `%`.
        sides: Values of each side, one per round; cnncli's first.
        subject: Network, command or number of images.
        group: Group of the benchmark.
        command: Command that repeats the measurement.
        note: Further information about the subject, such as the precision that cnncli used.
        precision: Precision that was requested.
        date: Date of the measurement, ISO 8601.
        commit: Commit of cnncli, followed by + if files were changed.
        processor: Model and instruction sets, and their limit if one is set.
        packages: Versions of packages, also of those of the other side.
    """

    title: str
    unit: Literal["s", "images/s", "%"]
    sides: Mapping[str, Sequence[float]]
    subject: str = ""
    group: str = ""
    command: str = ""
    note: str = ""
    precision: str = "auto"
    date: str = ""
    commit: str = ""
    processor: str = ""
    packages: Mapping[str, str | None] | None = None

    def median(self, side: str = OURS) -> float:
        """Return the median of a side."""
        return statistics.median(self.sides[side])

    def compared(self, side: str) -> str:
        """Return how cnncli compares with a side: a ratio above 1 if it is faster, or a difference in points."""
        ours, theirs = self.median(), self.median(side)
        if self.unit == "%":
            return f"{statistics.mean(self.sides[OURS]) - statistics.mean(self.sides[side]):+.2f} points"
        return f"{theirs / ours if self.unit == 's' else ours / theirs:.2g} ×"

    def describe(self) -> str:
        """Return one line for the screen, with the lowest and the highest value of each side."""
        parts = [f"{name} {self._values(name)}" for name in self.sides]
        parts += [f"{self.compared(name)} {name}" for name in self.others]
        return f"{self.title}: {' '.join(filter(None, [self.label, ', '.join(parts)]))}"

    @property
    def key(self) -> tuple[str, ...]:
        """Everything that tells this row from others of its group."""
        return self.title, self.subject, self.precision, self.processor

    @property
    def others(self) -> list[str]:
        """The sides that cnncli is compared with."""
        return [name for name in self.sides if name != OURS]

    @property
    def label(self) -> str:
        """Subject and note."""
        return f"{self.subject} ({self.note})" if self.note else self.subject

    def typical(self, side: str) -> str:
        """Return the median of a side, or the mean of accuracies."""
        return number(statistics.mean(self.sides[side])) if self.unit == "%" else number(self.median(side))

    def _values(self, side: str) -> str:
        low, high = min(self.sides[side]), max(self.sides[side])
        spread = "" if low == high else f" ({number(low)}–{number(high)})"
        return f"{self.typical(side)} {self.unit}{spread}"


def number(value: float) -> str:
    """Format a value with three digits, or as an integer from 100 on.

    >>> number(1234.5), number(12.345), number(0.98765), number(0)
    ('1,234', '12.3', '0.988', '0')
    """
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"


def in_turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, tuple[float, ...]]:
    """Call every side once per round, in order, so that the machine's load affects all sides equally."""
    found = [{name: side() for name, side in sides.items()} for _ in range(rounds)]
    return {name: tuple(values[name] for values in found) for name in sides}


def rates_in_turns(
    sides: Mapping[str, Callable[[], object]], n: int, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, tuple[float, ...]]:
    """Return items per second of calls that process `n` items, after one call of each that is not counted."""

    def rate(side: Callable[[], object]) -> float:
        started = clock()
        side()
        return n / (clock() - started)

    for side in sides.values():
        side()
    return in_turns({name: lambda side=side: rate(side) for name, side in sides.items()}, rounds)  # type: ignore[misc]


def save(row: Row, group: str, command: str, folder: Path, precision: str = "auto") -> Row:
    """Add the circumstances to a row, and write it to the file of its group.

    It replaces a row with its title, subject, precision and processor, so that the file has the results of several
    machines.
    """
    facts, state, limit = cpu(), git(), os.environ.get(ISA_LIMIT)
    commit = "unknown" if state is None else state["commit"][:12] + ("+" if state["modified"] else "")
    row = replace(
        row,
        group=group,
        command=command,
        precision=precision,
        date=datetime.now(UTC).date().isoformat(),
        commit=commit,
        processor=" ".join(
            [str(facts["model"]), *(facts["flags"] or ()), *([f"({ISA_LIMIT}={limit})"] if limit else ())]
        ),
        packages={**{name: package_version(name) for name in PACKAGES}, **(row.packages or {})},
    )
    others = [one for one in load(folder) if one.group == group and one.key != row.key]
    documents = [asdict(one) for one in [*others, row]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{group}.json").write_text(json.dumps(documents, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return row


def load(folder: Path) -> list[Row]:
    """Read all rows of a folder."""
    documents: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        documents += json.loads(path.read_text(encoding="utf-8"))
    return [Row(**document) for document in documents]


def tables(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown: a summary of each processor, and tables of the networks."""
    parts = []
    for processor in dict.fromkeys(row.processor for row in rows):
        here = sorted((row for row in rows if row.processor == processor), key=_place)
        float32 = [row for row in here if row.precision == "float32"]
        results = [row for row in here if row.group not in OTHERS_ORDER and row not in float32]
        others = [row for row in here if row.group in OTHERS_ORDER]
        summaries = {"Summary": results, "In float32": float32, "Other tools, and limits": others}
        by_network = [several for several in _alike(here) if len(several) > MAX_LISTED]
        parts.append(f"### {processor}\n")
        parts += [f"{title}:\n\n{_summary(found)}" for title, found in summaries.items() if found]
        parts += [f"{_title(several)}:\n\n{_by_network(several)}" for several in by_network]
    return "\n".join(parts)


def _place(row: Row) -> tuple[int, bool]:
    order = (*RESULTS_ORDER, *OTHERS_ORDER)
    return order.index(row.group) if row.group in order else len(order), row.precision != "auto"


def _alike(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows that differ only in their subject together."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        found.setdefault((row.group, row.title, row.precision, *row.others), []).append(row)
    return list(found.values())


def _title(rows: Sequence[Row]) -> str:
    """Return what several rows have in common: title, precision and unit."""
    first = rows[0]
    requested = "" if first.precision == "auto" else f" in {first.precision}"
    return f"{first.title}{requested}, {first.unit}"


def _summary(rows: Sequence[Row]) -> str:
    """Return a table with one row for all networks: their values, or the lowest and the highest."""
    lines = ["| | cnncli | compared |", "|---|---|---|"]
    for several in _alike(rows):
        than = "against " if several[0].unit == "%" else ""
        compared = {
            name: f"{_span([row.compared(name) for row in several])} {than}{name}" for name in several[0].others
        }
        if len(several) > MAX_LISTED:
            ours, theirs = [_span([row.typical(OURS) for row in several])], list(compared.values())
        else:
            ours = [f"{row.label}: {row.typical(OURS)}" for row in several]
            theirs = [f"{text} ({', '.join(row.typical(name) for row in several)})" for name, text in compared.items()]
        commands = dict.fromkeys(f"`{row.command}`" for row in several)
        cells = [[_title(several), *commands], ours, theirs]
        lines.append(f"| {' | '.join('<br>'.join(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _by_network(rows: Sequence[Row]) -> str:
    """Return a table with a row for each network, and two columns for each other side."""
    others = rows[0].others
    header = ["", OURS, *(cell for name in others for cell in (name, ""))]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for row in rows:
        cells = [row.label, row.typical(OURS)]
        cells += [cell for name in others for cell in (row.typical(name), row.compared(name))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _span(values: Sequence[str]) -> str:
    """Return a few formatted values, or the lowest and the highest of many, with one unit after them."""
    numbers, _, unit = zip(*(value.partition(" ") for value in values), strict=True)
    if len(values) > MAX_LISTED:
        low, *_, high = sorted(numbers, key=lambda value: float(value.replace(",", "")))
        return f"{low} to {high} {unit[0]}".rstrip()
    return f"{', '.join(numbers)} {unit[0]}".rstrip()


def write_page(folder: Path = RESULTS, page: Path = PAGE) -> int:
    """Replace the table between two marks of a page by the results of a folder, and return their number."""
    text, rows = page.read_text(encoding="utf-8"), load(folder)
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{page} has no marks for the table")
    page.write_text(f"{before}{BEGIN}\n{tables(rows)}\n{END}{after}", encoding="utf-8")
    return len(rows)
