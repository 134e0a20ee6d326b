"""Every run in a line, broken ones included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cnncli.runs.folder import RunFolder, create_run, finish_run, update_facts
from cnncli.runs.listing import COLUMNS, list_runs

CONFIG = "mode: fine-tuning\nbackbone: {name: VGG16}\n"
METRICS = {
    "validation": {"n": 100, "loss": 0.1, "top1": 0.97, "top1_ci95": [0.915, 0.99]},
    "test": {"n": 1000, "loss": 0.1, "top1": 0.98, "top1_ci95": [0.9693, 0.987]},
}


def a_run(runs_dir: Path, name: str, created: str = "2026-11-21T12:00:00.000Z") -> RunFolder:
    """A run that was created at a given time."""
    run = create_run(runs_dir, name, {"config.yaml": CONFIG})
    update_facts(run, {"created": created})
    return run


def test_a_finished_run_has_all_its_figures(tmp_path: Path) -> None:
    """The summary joins run.json, config.yaml and metrics.json."""
    run = a_run(tmp_path, "a")
    run.metrics.write_text(json.dumps(METRICS))
    finish_run(run, {"seconds": 75.0})
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
        "val accuracy": "0.970",
        "test accuracy": "0.980",
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
    ("file", "text", "problem"),
    [
        ("run.json", "{", "run.json cannot be read ("),
        ("run.json", '{"format": 99}', "written in format 99 "),
        ("config.yaml", "a: [", "config.yaml cannot be read ("),
        ("config.yaml", "just text", "config.yaml holds no settings"),
        ("metrics.json", "{", "metrics.json cannot be read ("),
        ("metrics.json", "[]", "metrics.json holds no figures"),
    ],
)
def test_a_broken_run_is_listed_as_such(tmp_path: Path, file: str, text: str, problem: str) -> None:
    """The others are listed as ever, and the broken one says what is wrong with it."""
    good, bad = a_run(tmp_path, "good"), a_run(tmp_path, "bad")
    (bad.path / file).write_text(text)
    summaries = {run.path: run for run in list_runs(tmp_path)}

    assert summaries[good.path].problem is None
    assert summaries[bad.path].state == "broken"
    assert (summaries[bad.path].problem or "").startswith(problem)
    assert summaries[bad.path].cells() == (bad.path.name, "broken", *["–"] * (len(COLUMNS) - 2))


@pytest.mark.parametrize("missing", ["run.json", "config.yaml"])
def test_a_run_that_lost_a_file_is_listed_as_broken(tmp_path: Path, missing: str) -> None:
    """A directory among the runs that is none, or no longer one, does not stop the list."""
    run = a_run(tmp_path, "a")
    (run.path / missing).unlink()

    assert [summary.state for summary in list_runs(tmp_path)] == ["broken"]


@pytest.mark.parametrize(
    "metrics",
    [{}, {"test": None}, {"test": {}}, {"test": {"top1": "high", "top1_ci95": [1], "n": None}}, {"validation": 3}],
)
def test_figures_of_another_shape_are_unknown(tmp_path: Path, metrics: object) -> None:
    """What is not a number is shown as a dash."""
    a_run(tmp_path, "a").metrics.write_text(json.dumps(metrics))
    (summary,) = list_runs(tmp_path)

    assert (summary.val_accuracy, summary.test_accuracy, summary.test_ci95, summary.test_n) == (None,) * 4
    assert summary.problem is None


def test_a_config_without_backbone_is_listed(tmp_path: Path) -> None:
    """Odd but readable settings give unknown values, not an exception."""
    run = a_run(tmp_path, "a")
    run.config.write_text("backbone: 3\n")

    assert list_runs(tmp_path)[0].backbone is None
