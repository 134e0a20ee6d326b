"""The benchmarks measure sides alternately, save their findings, and write tables from them."""

from __future__ import annotations

import re
from importlib import import_module
from itertools import count
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from scripts import bench
from scripts.benchmarks import GROUPS, table
from scripts.benchmarks.measurements import (
    Finding,
    Record,
    Samples,
    Target,
    append,
    in_turns,
    newest,
    read,
    seconds_in_turns,
)
from scripts.benchmarks.table import brief, document, write_table

MACHINE = {"processor": "Abacus", "cores": "2", "flags": "beads"}
NOTHING_KNOWN = {"flags": "beads", "limits": []}
LIMIT = {"group": "startup", "title": "forward", "other": "Keras", "limit": "the memory's speed"}
KNOWN = {"flags": "beads", "limits": [LIMIT]}


def _record(finding: Finding, quick: bool = False, time: str = "2026-11-21T12:00:00+00:00") -> Record:
    command = "python scripts/bench.py startup help"
    return Record("startup", finding, command, "no images", quick, time, 0.25, "abc", MACHINE)


def _finding(ours: tuple[float, ...] = (8.0, 10.0, 12.0), least: float = 5.0) -> Finding:
    target = Target("comparison", least=least)
    return Finding("forward", "images/s", Samples(ours), "Keras", Samples((1.0, 2.0, 3.0)), target=target)


def test_sides_take_turns() -> None:
    """Each round calls every side once in order."""
    called: list[str] = []
    sides = {name: lambda name=name: called.append(name) for name in "AB"}

    in_turns(sides, rounds=3)

    assert called == ["A", "B"] * 3


def test_seconds_are_measured_after_a_warm_up() -> None:
    """The first call of each side is slow and is not part of the samples."""
    now = [0.0]

    def side(seconds: float) -> object:
        calls = count()

        def call() -> None:
            now[0] += 100.0 if next(calls) == 0 else seconds

        return call

    found = seconds_in_turns({"fast": side(1.0), "slow": side(4.0)}, 3, lambda: now[0])  # type: ignore[dict-item]  # objects in place of callables

    assert found == {"fast": Samples((1.0,) * 3), "slow": Samples((4.0,) * 3)}
    assert found["slow"].per_second(8).values == (2.0,) * 3


def test_a_side_is_its_median() -> None:
    """A slow round changes the spread, but not the value, of a side."""
    samples = Samples((1.0, 2.0, 90.0, 2.0, 3.0))

    assert (samples.median, samples.lowest, samples.highest) == (2.0, 1.0, 90.0)


@pytest.mark.parametrize(
    ("comparison", "compared"), [("rate", 4.0), ("time", 0.25), ("difference", 6.0)], ids=lambda value: str(value)
)
def test_medians_are_compared(comparison: str, compared: float) -> None:
    """Rates are compared as ours / theirs and times as theirs / ours, so that above 1 is better for cnncli."""
    finding = Finding("f", "u", Samples((8.0,)), "o", Samples((2.0,)), comparison=comparison)  # type: ignore[arg-type]  # a parameter of the test

    assert finding.compared == compared


@pytest.mark.parametrize(
    ("target", "is_reached"),
    [
        (None, None),
        (Target("comparison", least=5.0), True),
        (Target("comparison", least=5.1), False),
        (Target("cnncli", most=10.0), True),
        (Target("cnncli", least=10.0, most=10.0), True),
        (Target("cnncli", most=9.9), False),
    ],
)
def test_targets_are_inclusive_bounds(target: Target | None, is_reached: bool | None) -> None:
    """A value equal to its bound reaches the target, for comparisons and for cnncli's own median."""
    finding = Finding("f", "u", Samples((10.0,)), "o", Samples((2.0,)), target=target)

    assert finding.is_reached is is_reached


def test_records_survive_a_round_trip(tmp_path: Path) -> None:
    """Records are unchanged after they are written to JSON lines and read again."""
    records = [_record(_finding()), _record(Finding("alone", "s", Samples((0.5,)), note="a remark"), quick=True)]
    for record in records:
        append(tmp_path / "results", record)

    assert read(tmp_path / "results") == records


def test_the_newest_measurement_counts() -> None:
    """The newest record is used, but a quick record replaces only an older quick one."""
    old, new = _record(_finding(), time="2026-11-21T12:00:00"), _record(_finding((20.0,)), time="2026-11-21T13:00:00")
    quick = _record(_finding((1.0,)), quick=True, time="2026-11-21T14:00:00")

    assert newest([old, new, quick]) == [new]
    assert newest([quick, old]) == [old]


def test_the_table_has_only_values_of_records(tmp_path: Path) -> None:
    """Every value in the table is a median, an extreme, a ratio or a bound of the records."""
    append(tmp_path, _record(_finding()))

    assert write_table(tmp_path, tmp_path / "BENCHMARKS.md") == 1
    text = (tmp_path / "BENCHMARKS.md").read_text(encoding="utf-8")

    assert "| processor | Abacus |" in text
    assert (
        "| forward | 10 (8–12) images/s | Keras: 2 (1–3) images/s | 5 × | ≥ 5 × | yes | 3 | 0.2 | abc "
        "| `python scripts/bench.py startup help` |"
    ) in text
    assert re.findall(r"\d+(?:\.\d+)?", text.split("### startup")[1]) == [
        *("10", "8", "12", "2", "1", "3", "5", "5", "3", "0.2")
    ]


def test_a_missed_target_is_explained() -> None:
    """For a missed target, the table shows the reason in limits.yaml, or states that it is unknown."""
    record = _record(_finding(least=6.0))

    assert "- forward against Keras: the cause is not known" in document([record], NOTHING_KNOWN)
    assert "- forward against Keras: the memory's speed" in document([record], KNOWN)


def test_a_limit_holds_for_one_kind_of_machine() -> None:
    """An explanation is not shown for another machine or for a quick record."""
    other = Record("startup", _finding(least=6.0), "c", "p", False, "t", 0.0, "abc", {"processor": "x", "flags": "y"})
    quick = _record(_finding(least=6.0), quick=True)

    assert "the memory's speed" not in document([other], KNOWN)
    assert "the memory's speed" not in document([quick], KNOWN)


def test_quick_records_are_marked() -> None:
    """A quick record is marked once per line in the table and on the screen."""
    record = _record(_finding(), quick=True)
    alone = _record(Finding("alone", "s", Samples((0.5,))), quick=True)

    assert f"yes ({table.QUICK})" in document([record], NOTHING_KNOWN)
    assert brief(record).endswith(f"yes ({table.QUICK})")
    assert brief(record).count(table.QUICK) == 1
    assert brief(alone).endswith(f" · {table.QUICK}")


def test_each_machine_has_a_section() -> None:
    """Values of different machines are never in the same table."""
    other = Record("startup", _finding(), "c", "p", False, "t", 0.0, "abc", {"processor": "Difference Engine"})
    text = document([_record(_finding()), other], NOTHING_KNOWN)

    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Abacus", "## Difference Engine"]


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_benchmarks(group: str) -> None:
    """Each group has a module with names for the command line."""
    module = import_module(f"scripts.benchmarks.{group}")

    assert module.BENCHMARKS
    assert callable(module.measure)


def test_limits_name_existing_groups() -> None:
    """limits.yaml has only keys that the table uses, and names existing groups."""
    known = yaml.safe_load(table.LIMITS.read_text(encoding="utf-8"))

    assert set(known) == {"flags", "limits"}
    limits = known["limits"]
    assert all({"group", "limit"} <= set(entry) <= {"group", "title", "other", "limit"} for entry in limits)
    assert all(entry["group"] in GROUPS for entry in limits)


def test_an_unknown_benchmark_is_refused() -> None:
    """The error lists the benchmarks of the group."""
    result = CliRunner().invoke(bench.main, ["startup", "halp"])

    assert result.exit_code == 2
    assert "unknown benchmark of startup: halp; expected help, config-error." in result.output


@pytest.mark.parametrize(
    ("group", "benchmark", "repeats"),
    [("startup", "help", []), pytest.param("augmentation", "geometric", ["--repeats", "2"], marks=pytest.mark.slow)],
)
def test_a_quick_benchmark_runs(group: str, benchmark: str, repeats: list[str], tmp_path: Path) -> None:
    """A quick benchmark writes a record with the samples of both sides and one round by default."""
    words = [group, benchmark, *repeats, "--quick"]
    result = CliRunner().invoke(bench.main, [*words, "--results", str(tmp_path)], catch_exceptions=False)
    record = read(tmp_path)[-1]

    assert result.exit_code == 0
    assert (record.group, record.quick, len(record.finding.ours.values)) == (group, True, 2 if repeats else 1)
    assert record.command == f"python scripts/bench.py {' '.join(words)}"
    assert record.finding.ours.lowest > 0
