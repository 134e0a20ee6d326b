"""Format findings: one line while measuring, and `BENCHMARKS.md` with all results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from scripts.benchmarks import GROUPS
from scripts.benchmarks.measurements import Finding, Record, Samples, Target, newest, read

LIMITS = Path(__file__).with_name("limits.yaml")
QUICK = "quick, not meaningful"
HEADING = (
    "benchmark",
    "cnncli",
    "other side",
    "ratio",
    "target",
    "reached?",
    "rounds",
    "load before",
    "commit",
    "command",
)
INTRODUCTION = """# Benchmarks

Written by `python scripts/bench.py table` from the results of `python scripts/bench.py GROUP [BENCHMARK]`. No value in
a table is typed by hand. Both sides are measured in turns for the given number of rounds. A cell has the median and, in
parentheses, the lowest and the highest value if they differ. The ratio is that of the medians, above 1 if cnncli is
faster. "Load before" is the load average of the minute before the benchmark. A commit with "+" had uncommitted changes.

cnncli uses its defaults, which compute in bfloat16 on this processor; plain Keras computes in float32 unless a row says
otherwise. Keras reads its data with `cache` and `prefetch` and without the tuning thread of tf.data, which in
TensorFlow 2.21 sometimes delays the end of an epoch by seconds.
"""


def brief(record: Record) -> str:
    """Return a record as one line."""
    cells = _cells(record)
    parts = [
        f"{record.group} · {cells[0]}: {cells[1]}",
        *([f"other side {cells[2]}", f"ratio {cells[3]}"] if record.finding.theirs else []),
        *([f"target {cells[4]}: {cells[5]}"] if record.finding.target else []),
        *([QUICK] if record.quick and not record.finding.target else []),  # part of the cell of a target
    ]
    return " · ".join(parts)


def write_table(results: Path, out: Path, limits: Path = LIMITS) -> int:
    """Write the tables of all results, and return the number of rows."""
    records = newest(read(results))
    out.write_text(document(records, yaml.safe_load(limits.read_text(encoding="utf-8"))), encoding="utf-8")
    return len(records)


def document(records: Sequence[Record], known: Mapping[str, Any]) -> str:
    """Return the page, with a section for each machine.

    Args:
        records: One record per row.
        known: `limits`, a list of reasons why rows miss their target (`{group, title, other, limit}`, where `title` and
            `other` are optional), and `flags`, the processor features to which they apply.
    """
    sections = [INTRODUCTION]
    for machine in _in_order(str(sorted(record.machine.items())) for record in records):
        here = [record for record in records if str(sorted(record.machine.items())) == machine]
        sections += _machine_section(here, known["limits"] if here[0].machine.get("flags") == known["flags"] else [])
    return "\n".join(sections)


def _in_order(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _machine_section(records: Sequence[Record], limits: Sequence[Mapping[str, str]]) -> list[str]:
    machine = records[0].machine
    title = f"## {machine.get('GPU') or machine.get('processor', 'unknown machine')}\n"
    facts = _markdown([("", ""), *machine.items()])
    groups = [[record for record in records if record.group == group] for group in GROUPS]
    return [title, facts, *(part for group in groups if group for part in _group_section(group, limits))]


def _group_section(records: Sequence[Record], limits: Sequence[Mapping[str, str]]) -> list[str]:
    parts = [f"### {records[0].group}\n", _markdown([HEADING, *(_cells(record) for record in records)])]
    for title, lines in (("Notes", _notes(records)), ("Limits", _limits(records, limits))):
        if lines:
            parts.append(f"{title}:\n\n" + "\n".join(f"- {line}" for line in lines) + "\n")
    return parts


def _notes(records: Sequence[Record]) -> list[str]:
    noted = [f"{_name(record.finding)}: {record.finding.note}" for record in records if record.finding.note]
    return [*noted, f"measured on {', '.join(_in_order(record.data for record in records))}"]


def _limits(records: Sequence[Record], limits: Sequence[Mapping[str, str]]) -> list[str]:
    missed = [record for record in records if record.finding.is_reached is False and not record.quick]
    return [f"{_name(record.finding)}: {_limit_of(record, limits)}" for record in missed]


def _limit_of(record: Record, limits: Sequence[Mapping[str, str]]) -> str:
    for entry in limits:
        same = entry["group"] == record.group and entry.get("title", record.finding.title) == record.finding.title
        if same and entry.get("other", record.finding.other) == record.finding.other:
            return entry["limit"]
    return "the cause is not known"


def _name(finding: Finding) -> str:
    return f"{finding.title} against {finding.other}" if finding.other else finding.title


def _cells(record: Record) -> tuple[str, ...]:
    finding = record.finding
    reached = {None: "–", True: "yes", False: "no"}[finding.is_reached]
    return (
        finding.title,
        _samples(finding.ours, finding.unit),
        f"{finding.other}: {_samples(finding.theirs, finding.unit)}" if finding.theirs else "–",
        "–" if finding.compared is None else _compared(finding.compared, finding.comparison),
        _target(finding.target, finding),
        f"{reached} ({QUICK})" if record.quick else reached,
        str(len(finding.ours.values)),
        f"{record.load:.1f}",
        record.commit,
        f"`{record.command}`",
    )


def _samples(samples: Samples, unit: str) -> str:
    values = number(samples.median)
    if samples.lowest != samples.highest:
        values += f" ({number(samples.lowest)}–{number(samples.highest)})"
    return f"{values} {unit}"


def _compared(value: float, comparison: str) -> str:
    return f"{value:+.2f} points" if comparison == "difference" else f"{number(value)} ×"


def _target(target: Target | None, finding: Finding) -> str:
    if target is None:
        return "–"
    unit = f" {finding.unit}" if target.of == "cnncli" else " points" if finding.comparison == "difference" else " ×"
    if target.least == target.most:
        return f"= {number(target.least or 0)}{unit}"
    bounds = [
        *([f"≥ {number(target.least)}"] if target.least is not None else []),
        *([f"≤ {number(target.most)}"] if target.most is not None else []),
    ]
    return " and ".join(bounds) + unit


def number(value: float) -> str:
    """Format a value with three digits, or as an integer from 100 on.

    >>> number(1234.5), number(12.345), number(0.98765), number(0.00012345), number(0)
    ('1,234', '12.3', '0.988', '0.000123', '0')
    """
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    heading, *others = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([heading, "|" + "---|" * len(rows[0]), *others]) + "\n"
