"""`cnncli runs`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cnncli.cli import main
from cnncli.runs.folder import RunFolder, create_run, finish_run, update_facts
from cnncli.runs.listing import COLUMNS

CREATED = "2026-11-21T12:00:00.000Z"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with a finished run and a broken one."""
    facts = {"mode": "feature-extraction", "backbone": "VGG16"}
    run = create_run(tmp_path / "runs", "a", {"config.yaml": "", "model.keras": ""}, facts=facts)
    test = {"n": 1000, "loss": 0.1, "top1": 0.98, "top1_ci95": [0.9693, 0.987]}
    finish_run(run, {"seconds": 20.0, "metrics": {"test": test}})
    update_facts(run, {"created": CREATED})
    run.path.rename(tmp_path / "runs" / "2026-11-21T120000Z_a")
    (tmp_path / "runs" / "2026-11-21T130000Z_b").mkdir()
    return tmp_path / "runs"


def test_a_table_of_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Oldest first, each a line, a broken one too."""
    assert main(["runs", "--runs-dir", str(runs)]) == 0
    captured = capsys.readouterr()
    header, *lines = captured.out.splitlines()

    assert re.split(r" {2,}", header) == list(COLUMNS)
    assert [re.sub(r" +", " ", line) for line in lines] == [
        "2026-11-21T130000Z_b broken – – – – – – –",
        "2026-11-21T120000Z_a finished feature-extraction VGG16 – 0.980 0.969–0.987 1,000 20 s",
    ]
    assert captured.err.startswith(f"warning: {runs}/2026-11-21T130000Z_b: ")
    assert captured.err.count("\n") == 1


def test_json_has_every_fact_and_absolute_paths(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One document on stdout, nothing on stderr."""
    monkeypatch.chdir(runs.parent)
    assert main(["runs", "--json", "--runs-dir", "runs"]) == 0
    captured = capsys.readouterr()
    broken, run = json.loads(captured.out)

    assert captured.err == ""
    assert run == {
        "name": "2026-11-21T120000Z_a",
        "path": str(runs / "2026-11-21T120000Z_a"),
        "state": "finished",
        "created": CREATED,
        "parent": None,
        "mode": "feature-extraction",
        "backbone": "VGG16",
        "val_accuracy": None,
        "test_accuracy": 0.98,
        "test_ci95": [0.9693, 0.987],
        "test_n": 1000,
        "seconds": 20.0,
        "problem": None,
    }
    assert broken["state"] == "broken"
    assert "run.json" in broken["problem"]


def test_the_environment_names_the_folder(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CNNCLI_RUNS counts where no option is given."""
    monkeypatch.setenv("CNNCLI_RUNS", str(runs))

    assert main(["runs"]) == 0
    assert "2026-11-21T120000Z_a" in capsys.readouterr().out


def test_no_runs_is_said_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list is an empty result; nothing is created to hold it."""
    folder = tmp_path / "runs"

    assert main(["runs", "--runs-dir", str(folder)]) == 0
    assert capsys.readouterr() == ("", f"no runs in {folder}\n")
    assert main(["runs", "--json", "--runs-dir", str(folder)]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert not folder.exists()


def test_a_file_is_no_folder_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Naming a file is a wrong option."""
    (tmp_path / "runs").write_text("")

    assert main(["runs", "--runs-dir", str(tmp_path / "runs")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_hundred_runs_are_listed_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Many runs are no other case."""
    for k in range(100):
        run: RunFolder = create_run(tmp_path, f"r{k}", {"config.yaml": "mode: from-scratch\n"})
        update_facts(run, {"created": f"2026-11-{1 + k % 28:02}T{k // 28:02}:00:00.000Z"})
    main(["runs", "--json", "--runs-dir", str(tmp_path)])
    created = [run["created"] for run in json.loads(capsys.readouterr().out)]

    assert len(created) == 100
    assert created == sorted(created)
