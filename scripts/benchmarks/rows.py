"""Measure sides alternately, keep the results as JSON, and write the tables of the documentation from them."""

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
"""Number of subjects up to which a summary has a row for each."""
PACKAGES = ("tensorflow", "keras", "openvino", "nncf", "numpy", "scikit-learn")
ISA_LIMIT = "ONEDNN_MAX_CPU_ISA"
"""Environment variable that makes oneDNN, and so TensorFlow and OpenVINO, ignore newer instructions of a processor."""


@dataclass(frozen=True)
class Row:
    """A result.

    Attributes:
        title: What was measured, for several subjects.
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
        ratio = theirs / ours if self.unit == "s" else ours / theirs
        return f"{ratio:.2g} ×" if ratio < 99.5 else f"{ratio:,.0f} ×"  # not 2.5e+02

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

    def format_side(self, side: str) -> str:
        """Return the median of a side, or the mean of accuracies."""
        return number(statistics.mean(self.sides[side])) if self.unit == "%" else number(self.median(side))

    def _values(self, side: str) -> str:
        low, high = min(self.sides[side]), max(self.sides[side])
        spread = "" if low == high else f" ({number(low)}–{number(high)})"
        return f"{self.format_side(side)} {self.unit}{spread}"


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
    """Return the rows as Markdown: for each processor a summary and tables of the networks, by kind of result."""
    parts = []
    for processor in dict.fromkeys(row.processor for row in rows):
        here = sorted((row for row in rows if row.processor == processor), key=_place)
        results = [row for row in here if row.group not in OTHERS_ORDER]
        kinds = {
            "": [row for row in results if row.precision != "float32"],
            "#### In float32\n\n": [row for row in results if row.precision == "float32"],
            "#### Other tools, and limits\n\n": [row for row in here if row.group in OTHERS_ORDER],
        }
        parts.append(f"### {processor}\n")
        for heading, found in kinds.items():
            if alike := _alike(found):
                parts.append(heading + _summary(alike))
                parts += [f"{_title(one)}:\n\n{_networks(one)}" for one in alike if len(one) > MAX_LISTED]
    return "\n".join(parts)


def _place(row: Row) -> tuple[int, bool]:
    """Return the key that sorts rows in the order of the documentation, `precision: auto` first."""
    order = (*RESULTS_ORDER, *OTHERS_ORDER)
    return order.index(row.group) if row.group in order else len(order), row.precision != "auto"


def _alike(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows by what they have in common, which is everything but subject and values."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        found.setdefault((row.group, row.title, row.precision, *row.others), []).append(row)
    return list(found.values())


def _title(rows: Sequence[Row]) -> str:
    """Return title, precision and unit, which rows that are alike have in common."""
    first = rows[0]
    requested = "" if first.precision == "auto" else f" in {first.precision}"
    return f"{first.title}{requested}, {first.unit}"


def _summary(alike: Sequence[Sequence[Row]]) -> str:
    """Return a table with a row for the lowest and highest values of many networks, and for each of a few."""
    lines = [["", "", OURS, "other sides, compared"], ["---"] * 4]
    for rows in alike:
        what = "<br>".join([_title(rows), *dict.fromkeys(f"`{row.command}`" for row in rows)])
        groups = [rows] if len(rows) > MAX_LISTED else [[row] for row in rows]
        for several in groups:
            others = [
                f"{name}: {_span(several, name)} ({_span(several, name, compared=True)})" for name in several[0].others
            ]
            subject = several[0].label if len(several) == 1 else f"{len(several)} networks"
            lines.append([what, subject, _span(several, OURS), "<br>".join(others)])
            what = ""
    return _markdown(lines)


def _networks(rows: Sequence[Row]) -> str:
    """Return a table with a row for each network, and two columns for each other side."""
    others = rows[0].others
    header = ["", OURS, *(cell for name in others for cell in (name, "compared"))]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        cells = [cell for name in others for cell in (row.format_side(name), row.compared(name))]
        lines.append([row.label, row.format_side(OURS), *cells])
    return _markdown(lines)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _span(rows: Sequence[Row], side: str, *, compared: bool = False) -> str:
    """Return the lowest and the highest formatted value of a side, or of its comparisons, with their unit."""
    texts = [row.compared(side) if compared else row.format_side(side) for row in rows]
    numbers, _, units = zip(*(text.partition(" ") for text in texts), strict=True)
    low, high = (pick(numbers, key=lambda text: float(text.replace(",", ""))) for pick in (min, max))
    return f"{low if low == high else f'{low} to {high}'} {units[0]}".rstrip()


def write_page(folder: Path = RESULTS, page: Path = PAGE) -> int:
    """Replace the tables between two marks of a page by the results of a folder, and return their number."""
    text, rows = page.read_text(encoding="utf-8"), load(folder)
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{page} has no marks for the tables")
    page.write_text(f"{before}{BEGIN}\n{tables(rows)}\n{END}{after}", encoding="utf-8")
    return len(rows)
