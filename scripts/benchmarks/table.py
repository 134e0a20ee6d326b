"""The results as text: a line for each while measuring, and `BENCHMARKS.md` for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from scripts.benchmarks import GROUPS
from scripts.benchmarks.results import Finding, Reach, Record, newest, read
from scripts.benchmarks.timing import Samples

LIMITS = Path(__file__).with_name("limits.yaml")
QUICK = "quick look, not to be quoted"
HEADING = (
    "figure",
    "cnncli",
    "other side",
    "ratio",
    "reach",
    "reached?",
    "rounds",
    "load before",
    "commit",
    "command",
)
INTRODUCTION = """# Benchmarks

Written by `python scripts/bench.py table` from what `python scripts/bench.py GROUP [FIGURE]` measured; no figure in a
table is typed by hand, what is said below one about its limits is. Both sides are measured in turns, as many rounds as
the table says. Each cell has the median and, in brackets, the lowest and the highest value where they differ; of one
round, that one. The ratio is that of the medians, above 1 where cnncli is faster; "reach" is what the figure was to
reach. "Load before" is how many processes wanted a processor on average in the minute before the row was begun, with
those of the rows before it. A commit with a "+" had changes in it that were not committed yet.

cnncli computes as its defaults have it, in bfloat16 on this processor; plain Keras computes in float32 where a row does
not say otherwise. Keras reads its data with `cache` and `prefetch` and without tf.data's tuning thread, which in
TensorFlow 2.21 now and then holds up the end of an epoch for seconds.
"""


def brief(record: Record) -> str:
    """One line about a record."""
    cells = _cells(record)
    parts = [
        f"{record.group} · {cells[0]}: {cells[1]}",
        *([f"other side {cells[2]}", f"ratio {cells[3]}"] if record.finding.theirs else []),
        *([f"reach {cells[4]}: {cells[5]}"] if record.finding.reach else []),
        *([QUICK] if record.quick and not record.finding.reach else []),  # beside a reach it stands already
    ]
    return " · ".join(parts)


def write_table(results: Path, out: Path, limits: Path = LIMITS) -> int:
    """Write the table of all that was measured, and give the number of its rows."""
    records = newest(read(results))
    out.write_text(document(records, yaml.safe_load(limits.read_text(encoding="utf-8"))), encoding="utf-8")
    return len(records)


def document(records: Sequence[Record], known: Mapping[str, Any]) -> str:
    """The whole page; a section for each machine.

    Args:
        records: one for each row.
        known: `limits`, what to say of a row that misses its reach: `{group, figure, other, limit}`, of which `figure`
            and `other` may be absent; and `flags`, of the machine that they speak of.
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
        same = entry["group"] == record.group and entry.get("figure", record.finding.figure) == record.finding.figure
        if same and entry.get("other", record.finding.other) == record.finding.other:
            return entry["limit"]
    return "the cause is not known"


def _name(finding: Finding) -> str:
    return f"{finding.figure} against {finding.other}" if finding.other else finding.figure


def _cells(record: Record) -> tuple[str, ...]:
    finding = record.finding
    reached = {None: "–", True: "yes", False: "no"}[finding.is_reached]
    return (
        finding.figure,
        _samples(finding.ours, finding.unit),
        f"{finding.other}: {_samples(finding.theirs, finding.unit)}" if finding.theirs else "–",
        "–" if finding.compared is None else _compared(finding.compared, finding.comparison),
        _reach(finding.reach, finding),
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


def _reach(reach: Reach | None, finding: Finding) -> str:
    if reach is None:
        return "–"
    unit = f" {finding.unit}" if reach.of == "cnncli" else " points" if finding.comparison == "difference" else " ×"
    if reach.least == reach.most:
        return f"= {number(reach.least or 0)}{unit}"
    bounds = [
        *([f"≥ {number(reach.least)}"] if reach.least is not None else []),
        *([f"≤ {number(reach.most)}"] if reach.most is not None else []),
    ]
    return " and ".join(bounds) + unit


def number(value: float) -> str:
    """Three digits, whole numbers from 100 on.

    >>> number(1234.5), number(12.345), number(0.98765), number(0.00012345), number(0)
    ('1,234', '12.3', '0.988', '0.000123', '0')
    """
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    heading, *others = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([heading, "|" + "---|" * len(rows[0]), *others]) + "\n"
