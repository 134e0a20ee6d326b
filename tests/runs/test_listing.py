"""Every run in a line, broken ones included."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncli.runs.folder import RunFolder, create_run, finish_run, update_facts
from cnncli.runs.listing import COLUMNS, list_runs

METRICS = {
    "validation": {"n": 100, "loss": 0.1, "top1": 0.97, "top1_ci95": [0.915, 0.99]},
    "test": {"n": 1000, "loss": 0.1, "top1": 0.98, "top1_ci95": [0.9693, 0.987]},
}


def a_run(runs_dir: Path, name: str, created: str = "2026-11-21T12:00:00.000Z") -> RunFolder:
    """A run that was created at a given time."""
    run = create_run(runs_dir, name, {"config.yaml": ""}, facts={"mode": "fine-tuning", "backbone": "VGG16"})
    update_facts(run, {"created": created})
    return run


def a_finished_run(runs_dir: Path, name: str) -> RunFolder:
    """A run with its model and its figures."""
    run = a_run(runs_dir, name)
    run.model.write_bytes(b"")
    finish_run(run, {"seconds": 75.0, "metrics": METRICS})
    return run


def test_a_finished_run_has_all_its_figures(tmp_path: Path) -> None:
    """What the table and the JSON show comes from run.json."""
    run = a_finished_run(tmp_path, "a")
    (summary,) = list_runs(tmp_path)

    assert summary.to_dict() == {
        "name": run.path.name,
        "path": run.path,
        "state": "finished",
        "created": "2026-11-21T12:00:00.000Z",
        "parent": None,
        "mode": "fine-tuning",
        "backbone": "VGG16",
        "val_accuracy": 0.97,
        "test_accuracy": 0.98,
        "test_ci95": (0.9693, 0.987),
        "test_n": 1000,
        "seconds": 75.0,
        "problem": None,
    }
    assert dict(zip(COLUMNS, summary.cells(), strict=True)) == {
        "run": run.path.name,
        "state": "finished",
        "mode": "fine-tuning",
        "backbone": "VGG16",
        "val": "0.970",
        "test": "0.980",
        "95 %": "0.969–0.987",
        "n": "1,000",
        "time": "1 min 15 s",
    }


def test_a_run_without_figures_has_dashes(tmp_path: Path) -> None:
    """A run under way has a state, a mode and a backbone, and no figures yet."""
    a_run(tmp_path, "a")
    (summary,) = list_runs(tmp_path)

    assert summary.cells()[1:] == ("running", "fine-tuning", "VGG16", "–", "–", "–", "–", "–")


def test_no_folder_is_no_runs(tmp_path: Path) -> None:
    """A folder that is not there holds no run."""
    assert list_runs(tmp_path / "nowhere") == ()


def test_runs_are_in_the_order_of_their_creation(tmp_path: Path) -> None:
    """The time in run.json decides, so that renamed and copied runs keep their place."""
    for name, hour in (("b", 2), ("c", 1), ("a", 3)):
        a_run(tmp_path, name, f"2026-11-21T0{hour}:00:00.000Z")

    assert [run.name.split("_")[1] for run in list_runs(tmp_path)] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "run.json cannot be read ("),
        ('{"format": 99}', "written in format 99 "),
        (None, "not a run, it holds no "),
    ],
)
def test_a_broken_run_is_listed_as_such(tmp_path: Path, text: str | None, problem: str) -> None:
    """The others are listed as ever, and the broken one says what is wrong with it."""
    good, bad = a_run(tmp_path, "good"), a_run(tmp_path, "bad")
    bad.facts.unlink() if text is None else bad.facts.write_text(text)
    summaries = {run.path: run for run in list_runs(tmp_path)}

    assert summaries[good.path].problem is None
    assert summaries[bad.path].state == "broken"
    assert (summaries[bad.path].problem or "").startswith(problem)
    assert summaries[bad.path].cells() == (bad.path.name, "broken", *["–"] * (len(COLUMNS) - 2))


def test_a_run_that_lost_a_file_is_broken(tmp_path: Path) -> None:
    """A finished run needs its config and its model; one under way has no model yet."""
    finished, running = a_finished_run(tmp_path, "a"), a_run(tmp_path, "b")
    assert [run.problem for run in list_runs(tmp_path)] == [None, None]

    for run in (finished, running):
        run.config.unlink()
    finished.model.unlink()
    assert {run.path: (run.problem, run.cells()[1]) for run in list_runs(tmp_path)} == {
        finished.path: ("it lacks config.yaml and model.keras", "broken"),
        running.path: ("it lacks config.yaml", "broken"),
    }


@pytest.mark.parametrize(
    "metrics",
    [3, {}, {"test": None}, {"test": {}}, {"test": {"top1": "high", "top1_ci95": [1], "n": None}}, {"validation": 3}],
)
def test_figures_of_another_shape_are_unknown(tmp_path: Path, metrics: object) -> None:
    """What is not a number is shown as a dash."""
    update_facts(a_run(tmp_path, "a"), {"metrics": metrics, "mode": 1, "backbone": [], "seconds": "long"})
    (summary,) = list_runs(tmp_path)

    assert summary.cells()[2:] == ("–",) * 7
    assert summary.problem is None
