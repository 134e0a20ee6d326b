"""The benchmark measures sides in turns, keeps what it found, and writes its table from nothing else."""

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
from scripts.benchmarks.results import Finding, Reach, Record, append, newest, read
from scripts.benchmarks.table import brief, document, write_table
from scripts.benchmarks.timing import Samples, in_turns, seconds_in_turns

MACHINE = {"processor": "Abacus", "cores": "2", "flags": "beads"}
NOTHING_KNOWN = {"flags": "beads", "limits": []}
LIMIT = {"group": "startup", "figure": "forward", "other": "Keras", "limit": "the memory's speed"}
KNOWN = {"flags": "beads", "limits": [LIMIT]}


def _record(finding: Finding, quick: bool = False, time: str = "2026-11-21T12:00:00+00:00") -> Record:
    command = "python scripts/bench.py startup help"
    return Record("startup", finding, command, "no images", quick, time, 0.25, "abc", MACHINE)


def _finding(ours: tuple[float, ...] = (8.0, 10.0, 12.0), least: float = 5.0) -> Finding:
    reach = Reach("comparison", least=least)
    return Finding("forward", "images/s", Samples(ours), "Keras", Samples((1.0, 2.0, 3.0)), reach=reach)


def test_sides_take_turns() -> None:
    """Each round calls every side once, in their order."""
    called: list[str] = []
    sides = {name: lambda name=name: called.append(name) for name in "AB"}

    in_turns(sides, rounds=3)

    assert called == ["A", "B"] * 3


def test_seconds_are_those_of_each_side_after_a_round_that_does_not_count() -> None:
    """By a clock that the sides themselves move: the first call of each takes long, and is in no sample."""
    now = [0.0]

    def side(seconds: float) -> object:
        calls = count()

        def call() -> None:
            now[0] += 100.0 if next(calls) == 0 else seconds

        return call

    found = seconds_in_turns({"fast": side(1.0), "slow": side(4.0)}, 3, lambda: now[0])  # type: ignore[dict-item]

    assert found == {"fast": Samples((1.0,) * 3), "slow": Samples((4.0,) * 3)}
    assert found["slow"].per_second(8).values == (2.0,) * 3


def test_a_side_is_its_median() -> None:
    """One slow round moves the spread, and not the figure."""
    samples = Samples((1.0, 2.0, 90.0, 2.0, 3.0))

    assert (samples.median, samples.lowest, samples.highest) == (2.0, 1.0, 90.0)


@pytest.mark.parametrize(
    ("comparison", "compared"), [("rate", 4.0), ("time", 0.25), ("difference", 6.0)], ids=lambda value: str(value)
)
def test_medians_are_compared(comparison: str, compared: float) -> None:
    """Rates as ours to theirs, times as theirs to ours, so that above 1 is better for cnncli."""
    finding = Finding("f", "u", Samples((8.0,)), "o", Samples((2.0,)), comparison=comparison)  # type: ignore[arg-type]

    assert finding.compared == compared


@pytest.mark.parametrize(
    ("reach", "is_reached"),
    [
        (None, None),
        (Reach("comparison", least=5.0), True),
        (Reach("comparison", least=5.1), False),
        (Reach("cnncli", most=10.0), True),
        (Reach("cnncli", least=10.0, most=10.0), True),
        (Reach("cnncli", most=9.9), False),
    ],
)
def test_reaches_are_bounds_that_count(reach: Reach | None, is_reached: bool | None) -> None:
    """Of the comparison, or of cnncli's own median."""
    finding = Finding("f", "u", Samples((10.0,)), "o", Samples((2.0,)), reach=reach)

    assert finding.is_reached is is_reached


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    """As JSON lines, one for each."""
    records = [_record(_finding()), _record(Finding("alone", "s", Samples((0.5,)), note="a remark"), quick=True)]
    for record in records:
        append(tmp_path / "results", record)

    assert read(tmp_path / "results") == records


def test_the_newest_measurement_counts() -> None:
    """A quick look takes the place of nothing but an older quick look."""
    old, new = _record(_finding(), time="2026-11-21T12:00:00"), _record(_finding((20.0,)), time="2026-11-21T13:00:00")
    quick = _record(_finding((1.0,)), quick=True, time="2026-11-21T14:00:00")

    assert newest([old, new, quick]) == [new]
    assert newest([quick, old]) == [old]


def test_the_table_is_written_from_results_alone(tmp_path: Path) -> None:
    """Every figure of the table is a median, an extreme, a ratio or a bound of the records."""
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


def test_a_missed_reach_says_its_limit() -> None:
    """In the words of the file beside the table; without any, that the cause is not known."""
    record = _record(_finding(least=6.0))

    assert "- forward against Keras: the cause is not known" in document([record], NOTHING_KNOWN)
    assert "- forward against Keras: the memory's speed" in document([record], KNOWN)


def test_a_limit_is_that_of_one_kind_of_machine() -> None:
    """Whoever measures on another one, or takes a quick look, is not told what was found out here."""
    other = Record("startup", _finding(least=6.0), "c", "p", False, "t", 0.0, "abc", {"processor": "x", "flags": "y"})
    quick = _record(_finding(least=6.0), quick=True)

    assert "the memory's speed" not in document([other], KNOWN)
    assert "the memory's speed" not in document([quick], KNOWN)


def test_a_quick_look_is_marked() -> None:
    """In the table and on the screen, as not to be quoted: once in a line."""
    record = _record(_finding(), quick=True)
    alone = _record(Finding("alone", "s", Samples((0.5,))), quick=True)

    assert "yes (quick look, not to be quoted)" in document([record], NOTHING_KNOWN)
    assert brief(record).endswith("yes (quick look, not to be quoted)")
    assert brief(record).count("quick look") == 1
    assert brief(alone).endswith(" · quick look, not to be quoted")


def test_machines_have_a_section_each() -> None:
    """Figures of two machines never stand in one table."""
    other = Record("startup", _finding(), "c", "p", False, "t", 0.0, "abc", {"processor": "Difference Engine"})
    text = document([_record(_finding()), other], NOTHING_KNOWN)

    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Abacus", "## Difference Engine"]


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_its_figures(group: str) -> None:
    """A module for each, with names for the command line."""
    module = import_module(f"scripts.benchmarks.{group}")

    assert module.FIGURES
    assert callable(module.measure)


def test_limits_name_groups_that_are() -> None:
    """The file beside the table can be read, and says nothing that the table would not look at."""
    known = yaml.safe_load(table.LIMITS.read_text(encoding="utf-8"))

    assert set(known) == {"flags", "limits"}
    limits = known["limits"]
    assert all({"group", "limit"} <= set(entry) <= {"group", "figure", "other", "limit"} for entry in limits)
    assert all(entry["group"] in GROUPS for entry in limits)


def test_an_unknown_figure_is_refused() -> None:
    """With those that there are."""
    result = CliRunner().invoke(bench.main, ["startup", "halp"])

    assert result.exit_code == 2
    assert "startup has no figure halp; there are help, config-error." in result.output


@pytest.mark.parametrize(
    ("group", "figure", "repeats"), [("startup", "help", []), ("augmentation", "geometric", ["--repeats", "2"])]
)
def test_a_quick_look_runs(group: str, figure: str, repeats: list[str], tmp_path: Path) -> None:
    """From the command line to a record with both sides' samples, marked as quick; one round unless more are asked."""
    words = [group, figure, *repeats, "--quick"]
    result = CliRunner().invoke(bench.main, [*words, "--results", str(tmp_path)], catch_exceptions=False)
    record = read(tmp_path)[-1]

    assert result.exit_code == 0
    assert (record.group, record.quick, len(record.finding.ours.values)) == (group, True, 2 if repeats else 1)
    assert record.command == f"python scripts/bench.py {' '.join(words)}"
    assert record.finding.ours.lowest > 0
