"""Runs from an earlier version, whose files use different names, still work.

`tests/data/old_runs.zip` contains a dataset, a finished run, and a run that was interrupted in its third epoch of six.
`@ROOT@` is a placeholder for the folder that contains them.
"""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import pytest

import cnncli
from cnncli.cli import main

ARCHIVE = Path(__file__).resolve().parents[1] / "data" / "old_runs.zip"
PLACEHOLDER = b"@ROOT@"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with `dataset/`, `runs/finished/` and `runs/interrupted/`."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file() and PLACEHOLDER in (data := path.read_bytes()):
            path.write_bytes(data.replace(PLACEHOLDER, str(tmp_path).encode()))
    monkeypatch.setenv("CNNCLI_RUNS", str(tmp_path / "runs"))
    return tmp_path


def history(run: Path) -> list[dict[str, str]]:
    """Return the rows of history.csv."""
    with (run / "history.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_old_runs_are_listed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cnncli runs` lists the finished and the interrupted run with their facts."""
    assert main(["runs", "--json"]) == 0
    listed = {run["name"]: run for run in json.loads(capsys.readouterr().out)}

    assert listed.keys() == {"finished", "interrupted"}
    assert listed["finished"]["state"] == "finished"
    assert (listed["finished"]["test_n"], listed["finished"]["test_accuracy"]) == (8, 0.5)
    assert listed["interrupted"]["state"] != "finished"


def test_an_old_run_predicts(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`predict` gives the probabilities of the version that trained the run."""
    assert main(["predict", str(root / "dataset/test/rings/rings0.png"), "--run", "finished", "--json"]) == 0
    (prediction,) = json.loads(capsys.readouterr().out)
    found = {one["label"]: one["probability"] for one in prediction["predictions"]}

    assert found == pytest.approx({"stripes": 0.517517, "rings": 0.482483}, abs=1e-5)


def test_an_old_run_is_evaluated(root: Path) -> None:
    """`evaluate` gives the test metrics in the run's metrics.json."""
    stored = json.loads((root / "runs/finished/metrics.json").read_text(encoding="utf-8"))["test"]

    found = cnncli.evaluate(root / "runs" / "finished").metrics

    assert found.n == stored["n"] == 8
    assert found.top1 == stored["top1"]
    assert found.loss == pytest.approx(stored["loss"], abs=1e-5)


def test_an_old_run_is_fine_tuned(root: Path) -> None:
    """`finetune` starts a new run from the old one."""
    assert main(["finetune", "finished", "--unfreeze", "1", "--epochs", "1", "-q"]) == 0
    (new,) = {path.name for path in (root / "runs").iterdir() if not path.name.startswith(".")} - {
        "finished",
        "interrupted",
    }

    assert json.loads((root / "runs" / new / "run.json").read_text(encoding="utf-8"))["parent"] == str(
        root / "runs/finished"
    )


def test_an_interrupted_old_run_is_resumed(root: Path) -> None:
    """The run resumes from its checkpoint in the third epoch; the values of earlier epochs do not change."""
    run = root / "runs" / "interrupted"
    before = history(run)

    assert main(["train", str(run), "-q"]) == 0

    after = history(run)
    assert len(before) == 2
    assert [row["epoch"] for row in after] == ["1", "2", "3", "4", "5", "6"]
    assert [row["val_loss"] for row in after[:2]] == [row["val_loss"] for row in before]
    assert [row["images_per_s"] for row in after[:2]] == [row["pictures_per_s"] for row in before]
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["state"] == "finished"


def test_an_old_run_is_extended(root: Path) -> None:
    """A finished old run can be trained for more epochs."""
    run = root / "runs" / "finished"
    before = history(run)

    assert main(["train", str(run), "training.epochs=4", "-q"]) == 0

    after = history(run)
    assert [row["epoch"] for row in after] == ["1", "2", "3", "4"]
    assert [row["val_loss"] for row in after[:3]] == [row["val_loss"] for row in before]
