"""The benchmarks measure sides alternately, keep their results, and write the table of the documentation from them."""

from __future__ import annotations

import os
import re
import sys
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts import bench
from scripts.benchmarks import rows, torch_side
from scripts.benchmarks.accuracy import paired_interval
from scripts.benchmarks.drawings import N_HUES, draw_letters
from scripts.benchmarks.rows import (
    BEGIN,
    END,
    ISA_LIMIT,
    OURS,
    PAGE,
    RESULTS,
    ROOT,
    Row,
    in_turns,
    load,
    rates_in_turns,
    save,
    tables,
    write_page,
)
from scripts.benchmarks.torch_side import timm_process

USUAL = bench.GROUPS["start"][1]


def _row(title: str = "forward", **changes: object) -> Row:
    sides = {OURS: (8.0, 10.0, 12.0), "Keras": (1.0, 2.0, 3.0)}
    return Row(**{"title": title, "unit": "images/s", "sides": sides, **changes})  # type: ignore[arg-type]  # any setting


def test_sides_take_turns() -> None:
    """Each round calls every side once in order."""
    called: list[str] = []

    def side(name: str) -> float:
        called.append(name)
        return float(len(called))

    found = in_turns({name: lambda name=name: side(name) for name in "AB"}, rounds=3)  # type: ignore[misc]

    assert called == ["A", "B"] * 3
    assert found == {"A": (1, 3, 5), "B": (2, 4, 6)}


def test_rates_are_measured_after_a_warm_up() -> None:
    """The first call of each side is slow and is not counted."""
    now, calls = [0.0], count()

    def side() -> None:
        now[0] += 100.0 if next(calls) == 0 else 2.0

    assert rates_in_turns({OURS: side}, 8, 3, lambda: now[0]) == {OURS: (4.0, 4.0, 4.0)}


@pytest.mark.parametrize(("unit", "compared"), [("images/s", "5 ×"), ("s", "0.2 ×"), ("%", "+8.00 points")])
def test_above_1_is_better_for_cnncli(unit: str, compared: str) -> None:
    """Rates are compared as ours / theirs, times as theirs / ours, and accuracies by the difference of their means."""
    assert _row(unit=unit).compared("Keras") == compared


def test_a_slow_round_does_not_change_the_median() -> None:
    """A row is the median of its rounds."""
    assert _row(sides={OURS: (2.0, 1.0, 90.0, 2.0, 3.0)}).median() == 2.0


def test_a_row_replaces_an_older_one_with_its_title_and_subject(tmp_path: Path) -> None:
    """Results are kept by group, with the circumstances of the measurement."""
    for row in (_row(), _row("files"), _row(subject="VGG16"), _row(sides={OURS: (20.0,)})):
        new = save(row, "forward", "python scripts/bench.py forward", tmp_path)

    assert [(row.title, row.subject) for row in load(tmp_path)] == [
        ("files", ""),
        ("forward", "VGG16"),
        ("forward", ""),
    ]
    assert load(tmp_path)[2].median() == 20.0
    assert all((new.processor, new.date, new.commit))


def test_a_limit_of_the_instructions_is_part_of_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results without newer instructions do not replace those with them."""
    monkeypatch.delenv(ISA_LIMIT, raising=False)
    save(_row(), "forward", "python scripts/bench.py forward", tmp_path)
    monkeypatch.setenv(ISA_LIMIT, "AVX2")
    limited = save(_row(), "forward", "python scripts/bench.py forward", tmp_path)

    assert limited.processor.endswith(f"({ISA_LIMIT}=AVX2)")
    assert len(load(tmp_path)) == 2


def test_results_of_several_processors_stay_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row replaces none of another processor, and the page has a table for each."""
    for model in ("A", "B", "B"):
        monkeypatch.setattr(rows, "cpu", lambda model=model: {"model": model, "flags": ["avx2"]})
        save(_row(), "forward", "python scripts/bench.py forward", tmp_path)

    assert [row.processor for row in load(tmp_path)] == ["A avx2", "B avx2"]
    assert [f"### {name} avx2\n" in tables(load(tmp_path)) for name in "ABC"] == [True, True, False]


def test_the_page_has_only_values_of_results(tmp_path: Path) -> None:
    """Every number in the tables is a median, a mean or a comparison of the results."""
    save(_row(), "forward", "python scripts/bench.py forward", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}\nafter\n", encoding="utf-8")

    assert write_page(tmp_path, page) == 1
    text = page.read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith("| forward"))

    assert (text.startswith("before\n"), text.endswith("after\n"), "old" in text) == (True, True, False)
    assert re.findall(r"[0-9]+", line) == ["10", "2", "5"]


def test_up_to_three_subjects_have_rows_of_their_own() -> None:
    """Below the first, the title is not repeated. Results with other sides have rows of their own."""
    sides = {OURS: (10.0,), "Keras": (2.0,), "OpenVINO": (5.0,)}
    both = [_row(subject="VGG16", sides=sides), _row(subject="MobileNet", note="int8", sides=sides)]
    text = tables([*both, _row(subject="Lite0", sides={OURS: (7.0,)})])

    assert "| VGG16 | 10 | Keras: 2 (5 ×)<br>OpenVINO: 5 (2 ×) |" in text
    assert "|  | MobileNet (int8) | 10 | Keras: 2 (5 ×)<br>OpenVINO: 5 (2 ×) |" in text
    assert "| Lite0 | 7 |  |" in text


def test_more_subjects_are_summarized_and_listed() -> None:
    """The summary has the lowest and the highest value and comparison, and a table has those of each network."""
    values = {"VGG16": 8.0, "MobileNet": 1000.0, "Lite0": 900.0, "ResNet50": 90.0}
    text = tables([_row(subject=name, sides={OURS: (value,), "Keras": (4.0,)}) for name, value in values.items()])

    assert "| 4 networks | 8 to 1,000 | Keras: 4 (2 to 250 ×) |" in text
    assert "| ResNet50 | 90 | 4 | 22 × |" in text


def test_every_result_has_its_place_on_the_page() -> None:
    """Results are in the order of the documentation, then those in float32, then other tools in any precision."""
    measured = [_row(name, group=name, precision=one) for one in ("float32", "auto") for name in sorted(bench.GROUPS)]
    results, float32, others = re.split("#### .*", tables(measured))
    found = [re.findall(r"^\| (\w+)", text, re.MULTILINE) for text in (results, float32, others)]

    assert found[:2] == [list(rows.RESULTS_ORDER)] * 2
    assert found[2] == [group for group in rows.OTHERS_ORDER for _ in ("auto", "float32")]


@pytest.mark.parametrize(("names", "command"), [((), "start"), (("--help",), "start --help"), (USUAL, "start")])
def test_a_command_names_only_unusual_subjects(
    names: tuple[str, ...], command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual ones, named or not, have one command."""
    monkeypatch.setitem(bench.GROUPS, "start", (lambda *_: [_row()], USUAL))
    CliRunner().invoke(bench.main, ["start", "--results", str(tmp_path), "--", *names], catch_exceptions=False)

    assert {row.command for row in load(tmp_path)} == {f"python scripts/bench.py {command}"}


def test_the_page_is_that_of_the_results() -> None:
    """The table of the documentation is what its results give."""
    rows = load(RESULTS)
    between = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]

    assert rows
    assert between.strip() == tables(rows).strip()


@pytest.mark.parametrize(
    ("group", "subject", "precision"),
    [
        ("forward", "ResNet50", "int8"),
        ("warm", "another L2 strength", "auto"),
        ("finetune", "ResNet50 from conv5_block3_1_conv, 160 px", "auto"),
        ("predict", "one image", "auto"),
    ],
)
def test_the_readme_has_values_of_the_results(group: str, subject: str, precision: str) -> None:
    """A row of the README has the values of cnncli and of plain Keras in float32, and their ratio."""
    (row, *_) = (row for row in load(RESULTS) if (row.group, row.subject, row.precision) == (group, subject, precision))
    unit = " s" if row.unit == "s" else ""
    sides = [OURS, *row.others[:1]]
    cells = [f"{row.format_side(side)}{unit}" for side in sides] + [row.compared(side) for side in sides[1:]]

    assert f"| {' | '.join(cells)} |" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_interval_of_a_difference_treats_seeds_of_an_image_as_one_observation() -> None:
    """A second seed with the same errors does not narrow the interval, which has a length even without a difference."""
    ours, theirs = [True, True, False, True], [True, False, False, False]
    once, twice = paired_interval([ours], [theirs]), paired_interval([ours] * 2, [theirs] * 2)
    low, high = paired_interval([ours], [ours])

    assert once == twice
    # Half an image more in each cell: 2.5 - 0.5 of 6 images, with a variance of 3 / 6 - (2 / 6)².
    half = 196 * ((1 / 2 - 1 / 9) / 6) ** 0.5
    assert once == pytest.approx((100 / 3 - half, 100 / 3 + half))
    assert -low == high > 0


def test_letters_are_the_same_at_each_drawing(tmp_path: Path) -> None:
    """Each class has its images in each split, and their bytes do not change."""
    for name in "ab":
        draw_letters(tmp_path / name, {"train": 2, "test": 1}, "AB")
    files = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in (tmp_path / "a").rglob("*.png")}

    assert len(files) == 2 * N_HUES * 3
    assert all((tmp_path / "b" / name).read_bytes() == data for name, data in files.items())


@pytest.mark.parametrize(
    "lines",
    ["print(input(), flush=True)\ninput()", "input()\nos.close(0)\nprint(flush=True)"],
    ids=["exits after the second call", "closes the pipe before it"],
)
def test_a_process_that_has_ended_is_an_error(lines: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call waits for its answer, and the exit status is reported."""
    monkeypatch.setattr(torch_side, "ROOT", tmp_path)
    (tmp_path / "once.py").write_text(f"import os\nprint('{{}}', flush=True)\n{lines}\nexit(7)\n")
    with timm_process(Path(sys.executable), "once") as (call, versions):
        call()
        with pytest.raises(RuntimeError, match="exited with 7"):
            call()

    assert versions == {}


def test_quick_results_are_not_published(tmp_path: Path) -> None:
    """Values of few images need a folder of their own."""
    result = CliRunner().invoke(bench.main, ["start", "--quick"])

    assert (result.exit_code, "--results" in result.output) == (2, True)


@pytest.mark.parametrize("group", bench.WITH_TORCH)
def test_comparisons_with_torch_need_its_environment(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, the command ends before anything is measured and names the option."""
    monkeypatch.delenv("CNNCLI_TORCH", raising=False)
    result = CliRunner().invoke(bench.main, [group])

    assert (result.exit_code, "--torch" in result.output) == (2, True)


def test_an_unknown_group_is_refused() -> None:
    """The error lists the groups."""
    result = CliRunner().invoke(bench.main, ["forwrad"])

    assert (result.exit_code, "forward" in result.output) == (2, True)


@pytest.mark.parametrize(
    "words",
    [["start"], *(pytest.param([group], marks=pytest.mark.slow) for group in bench.GROUPS if group != "start")],
    ids=lambda words: words[0],
)
def test_a_quick_benchmark_runs(words: list[str], tmp_path: Path) -> None:
    """Each group writes rows with the values of both sides."""
    if words[0] in bench.WITH_TORCH and "CNNCLI_TORCH" not in os.environ:
        pytest.skip("CNNCLI_TORCH names no Python with timm and ultralytics")
    several = ("forward", "files", "solver", "letters", "int8", "cold", "timm")
    networks = ["MobileNet"] if words[0] in several else []
    arguments = [*words, *networks, "--quick", "--repeats", "1", "--results", str(tmp_path)]
    result = CliRunner().invoke(bench.main, arguments, catch_exceptions=False)

    assert result.exit_code == 0
    assert all(min(values) > 0 for row in load(tmp_path) for values in row.sides.values())
    assert load(tmp_path)[0].command.startswith(f"python scripts/bench.py {words[0]}")
