"""Runs are found by path or name, and listed with their results, even if some are broken."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cnncli.errors import RunError
from cnncli.runs import folder
from cnncli.runs.folder import RunFolder, create_run, end_run, locked, update_facts
from cnncli.runs.listing import COLUMNS, list_runs, open_run, require_finished

METRICS = {
    "validation": {"n": 100, "loss": 0.1, "top1": 0.97, "top1_ci95": [0.915, 0.99]},
    "test": {"n": 1000, "loss": 0.1, "top1": 0.98, "top1_ci95": [0.9693, 0.987]},
}


FILES = {"config.yaml": "name: a\n"}
NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """A clock that a test sets: a list with the time as its only item."""
    now = [NOON]
    monkeypatch.setattr(folder, "utc_now", lambda: now[0])
    return now


def finished_run(runs_dir: Path, name: str = "a", **facts: Any) -> RunFolder:
    """Create a finished run."""
    run = create_run(runs_dir, name, FILES)
    end_run(run, "finished", facts)
    return run


def a_run(runs_dir: Path, name: str, created: str = "2026-11-21T12:00:00.000Z") -> RunFolder:
    """Create a run at a given time."""
    run = create_run(runs_dir, name, {"config.yaml": ""}, facts={"mode": "fine-tuning", "backbone": "VGG16"})
    update_facts(run, {"created": created})
    return run


def a_finished_run(runs_dir: Path, name: str) -> RunFolder:
    """Create a finished run with a model and metrics."""
    run = a_run(runs_dir, name)
    run.model.write_bytes(b"")
    end_run(run, "finished", {"seconds": 75.0, "metrics": METRICS})
    return run


def test_a_finished_run_has_all_its_metrics(tmp_path: Path) -> None:
    """The table and the JSON document show the facts of run.json."""
    run = a_finished_run(tmp_path, "a")
    (summary,) = list_runs(tmp_path)

    assert vars(summary) == {
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
        "validation": "97.0 %",
        "test": "98.0 %",
        "95 % interval": "96.9–98.7 %",
        "images": "1,000",
        "time": "1 min 15 s",
    }


def test_a_run_without_metrics_has_dashes(tmp_path: Path) -> None:
    """A run in progress is listed with state, mode and backbone, and dashes for metrics."""
    with locked(a_run(tmp_path, "a")):
        (summary,) = list_runs(tmp_path)

    assert summary.cells()[1:] == ("running", "fine-tuning", "VGG16", "–", "–", "–", "–", "–")


def test_no_folder_is_no_runs(tmp_path: Path) -> None:
    """A missing folder gives an empty list."""
    assert list_runs(tmp_path / "nowhere") == ()


def test_runs_are_in_the_order_of_their_creation(tmp_path: Path) -> None:
    """Runs are sorted by the time in run.json, so renamed and copied runs keep their position."""
    for name, hour in (("b", 2), ("c", 1), ("a", 3)):
        a_run(tmp_path, name, f"2026-11-21T0{hour}:00:00.000Z")

    assert [run.name.split("_")[1] for run in list_runs(tmp_path)] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "run-file-damaged"),
        ('{"format": 99}', "run-newer-format"),
        (None, "run-not-a-run"),
    ],
)
def test_a_broken_run_is_listed_as_such(tmp_path: Path, text: str | None, code: str) -> None:
    """A broken run is listed with the reason, and the other runs as usual."""
    good, bad = a_run(tmp_path, "good"), a_run(tmp_path, "bad")
    bad.facts.unlink() if text is None else bad.facts.write_text(text)
    summaries = {run.path: run for run in list_runs(tmp_path)}

    assert summaries[good.path].problem is None
    assert summaries[bad.path].state == "broken"
    problem = summaries[bad.path].problem
    assert problem is not None
    assert (problem.code, problem.facts["path"]) in ((code, bad.path), (code, bad.facts))
    assert summaries[bad.path].cells() == (bad.path.name, "broken", *["–"] * (len(COLUMNS) - 2))


def test_a_run_that_lost_a_file_is_broken(tmp_path: Path) -> None:
    """A finished run without its config or model is broken; a run in progress needs no model."""
    finished, running = a_finished_run(tmp_path, "a"), a_run(tmp_path, "b")
    assert [run.problem for run in list_runs(tmp_path)] == [None, None]

    for run in (finished, running):
        run.config.unlink()
    finished.model.unlink()
    found = {run.path: run for run in list_runs(tmp_path)}
    for run, names in ((finished, ["config.yaml", "model.keras"]), (running, ["config.yaml"])):
        problem = found[run.path].problem
        assert problem is not None
        assert (problem.code, problem.facts["received"]) == ("run-file-missing", names)
        assert found[run.path].cells()[1] == "broken"


@pytest.mark.parametrize("metrics", [None, {}, {"test": None}, {"test": {}}])
def test_metrics_that_are_not_there_are_dashes(tmp_path: Path, metrics: object) -> None:
    """Metrics of a split that was not evaluated are shown as dashes."""
    update_facts(a_run(tmp_path, "a"), {"metrics": metrics})
    (summary,) = list_runs(tmp_path)

    assert summary.cells()[4:] == ("–",) * 5
    assert summary.problem is None


@pytest.mark.parametrize(
    "facts",
    [
        {"metrics": 3},
        {"metrics": {"validation": 3}},
        {"metrics": {"test": {"top1": "high"}}},
        {"metrics": {"test": {"top1_ci95": [1]}}},
        {"metrics": {"test": {"top1": 10**400}}},
        {"metrics": {"test": {"n": "many"}}},
        {"seconds": "long"},
        {"mode": 1},
    ],
)
def test_a_run_with_facts_of_another_type_is_broken(tmp_path: Path, facts: dict[str, Any]) -> None:
    """A run with facts of the wrong type is listed as broken, and the other runs as usual."""
    a_run(tmp_path, "a")
    update_facts(a_run(tmp_path, "b"), facts)
    states = {run.name.partition("_")[2]: (run.state, run.problem) for run in list_runs(tmp_path)}

    assert states["a"] == ("interrupted", None)
    state, problem = states["b"]
    assert problem is not None
    assert (state, problem.code) == ("broken", "run-file-damaged")


def test_the_newest_finished_run_is_the_default(tmp_path: Path, clock: list[datetime]) -> None:
    """The newest run is determined by creation time, not by name or file dates; unfinished runs are ignored."""
    old = finished_run(tmp_path, "z")
    clock[0] += timedelta(seconds=0.25)
    newest = finished_run(tmp_path, "a")
    clock[0] += timedelta(seconds=5)
    create_run(tmp_path, "running", FILES)
    os.utime(old.path)

    assert open_run(None, tmp_path) == newest


def test_a_run_is_opened_by_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path can be relative and end with a slash; the run's path is absolute."""
    run = finished_run(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)

    for path in (run.path, f"runs/{run.path.name}", f"runs/{run.path.name}/"):
        assert open_run(path, tmp_path / "elsewhere") == run


def test_the_current_folder_can_be_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.` opens the run in the current folder."""
    run = finished_run(tmp_path)
    monkeypatch.chdir(run.path)

    assert open_run(".", tmp_path / "elsewhere").read_facts()["name"] == "a"


def test_a_run_is_opened_by_the_name_of_its_directory(tmp_path: Path) -> None:
    """Runs in the folder of the runs can be opened by the name of their directory."""
    run = finished_run(tmp_path)

    assert open_run(run.path.name, tmp_path) == run


def test_a_run_is_opened_by_its_own_name(tmp_path: Path, clock: list[datetime]) -> None:
    """Of the runs with a name, the newest finished one is preferred, or the newest unfinished one if requested."""
    finished_run(tmp_path, "a")
    clock[0] += timedelta(seconds=1)
    newest = finished_run(tmp_path, "a")
    clock[0] += timedelta(seconds=1)
    unfinished = create_run(tmp_path, "a", FILES)
    only = create_run(tmp_path, "b", FILES)

    assert open_run("a", tmp_path) == newest
    assert open_run("a", tmp_path, prefer="unfinished") == unfinished
    assert open_run("b", tmp_path) == only
    end_run(only, "finished")
    assert open_run("b", tmp_path, prefer="unfinished") == only


def test_a_folder_of_the_same_name_does_not_hide_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder `a` in the current folder that is not a run does not hide the run `a`."""
    run = finished_run(tmp_path / "runs", "a")
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)

    assert open_run("a", tmp_path / "runs") == run


def test_a_copied_run_works_where_it_is(tmp_path: Path) -> None:
    """A run can be opened in any folder."""
    run = finished_run(tmp_path / "runs", engine="keras")
    shutil.copytree(run.path, tmp_path / "usb" / "my-run")
    copy = open_run(tmp_path / "usb" / "my-run", tmp_path / "runs")

    assert require_finished(copy) == run.read_facts()
    assert copy.config.read_text() == run.config.read_text()


def test_an_unknown_run_lists_what_there_is(tmp_path: Path, clock: list[datetime]) -> None:
    """The error lists the existing runs if none has a similar name and they are few."""
    finished_run(tmp_path, "vgg16-features")
    create_run(tmp_path, "mobilenet", FILES)

    with pytest.raises(RunError) as caught:
        open_run("resnet", tmp_path)

    assert caught.value.codes == ("run-not-found",)
    assert (caught.value.facts["received"], caught.value.facts["path"]) == ("resnet", tmp_path)
    assert caught.value.facts["expected"] == ("2026-11-21T120000Z_vgg16-features", "2026-11-21T120000Z_mobilenet")
    assert "vgg16-features (finished)" in str(caught.value)
    assert "mobilenet (interrupted)" in str(caught.value)
    assert "cnncli runs" not in str(caught.value)


def test_of_many_runs_those_with_similar_names_are_listed(tmp_path: Path, clock: list[datetime]) -> None:
    """The error lists the newest runs with similar names, suggests the name, and refers to the list of all runs."""
    for name in ("vgg16-features", "a", "vgg16-features", "b"):
        finished_run(tmp_path, name)
        clock[0] += timedelta(seconds=1)

    with pytest.raises(RunError) as caught:
        open_run("vgg61-features", tmp_path)

    assert caught.value.facts["expected"] == ("2026-11-21T120002Z_vgg16-features", "2026-11-21T120000Z_vgg16-features")
    assert "Did you mean vgg16-features?" in str(caught.value)
    assert str(caught.value).endswith(f"`cnncli runs --runs-dir {tmp_path}` lists all 4")


def test_a_long_list_of_runs_is_shortened(
    tmp_path: Path, clock: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest three are listed, and the message refers to the list of all runs."""
    monkeypatch.setenv("CNNCLI_RUNS", str(tmp_path))
    for k in range(11):
        create_run(tmp_path, f"r{k}", FILES)
        clock[0] += timedelta(seconds=1)

    with pytest.raises(RunError) as caught:
        open_run("zzz", tmp_path)

    newest = ("2026-11-21T120010Z_r10", "2026-11-21T120009Z_r9", "2026-11-21T120008Z_r8")
    assert caught.value.facts["expected"] == newest
    assert str(caught.value).endswith("`cnncli runs` lists all 11")


def test_no_finished_run_lists_the_others(tmp_path: Path, clock: list[datetime]) -> None:
    """If a finished run is required and there is none, the error lists the unfinished ones."""
    create_run(tmp_path, "a", FILES)

    with pytest.raises(RunError) as caught:
        open_run(None, tmp_path)

    assert caught.value.codes == ("run-none-finished",)
    assert caught.value.facts["expected"] == ("2026-11-21T120000Z_a",)


@pytest.mark.parametrize("folder_exists", [True, False])
def test_an_empty_folder_of_runs_has_no_run(tmp_path: Path, folder_exists: bool) -> None:
    """An empty folder and a missing folder give the same error."""
    runs = tmp_path / "runs"
    if folder_exists:
        runs.mkdir()

    with pytest.raises(RunError) as caught:
        open_run(None, runs)

    assert caught.value.codes == ("run-none-finished",)
    assert (caught.value.facts["path"], caught.value.facts["expected"]) == (runs, ())


def test_a_directory_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    """A directory that is not a run, such as a folder of images, is an error."""
    (tmp_path / "images").mkdir()

    with pytest.raises(RunError) as caught:
        open_run(tmp_path / "images", tmp_path)

    assert caught.value.codes == ("run-not-a-run",)
    assert caught.value.facts["path"] == tmp_path / "images"


def test_a_broken_run_does_not_hide_the_others(tmp_path: Path, clock: list[datetime]) -> None:
    """Unreadable runs are skipped in the search for the newest run."""
    run = finished_run(tmp_path)
    clock[0] += timedelta(seconds=1)
    finished_run(tmp_path).facts.write_text("{")

    assert open_run(None, tmp_path) == run


def test_a_run_that_is_being_trained_cannot_be_used(tmp_path: Path) -> None:
    """Commands that need a finished run name the process that trains it, since resuming it would be refused."""
    run = a_run(tmp_path, "a")
    with locked(run), pytest.raises(RunError) as caught:
        require_finished(run)
    assert (caught.value.code, caught.value.facts["received"]) == ("run-locked", str(os.getpid()))


def test_an_interrupted_run_is_listed_as_such(tmp_path: Path) -> None:
    """A run whose run.json says `running` but whose lock is free is listed as interrupted."""
    run = a_run(tmp_path, "a")
    run.lock.touch()
    (summary,) = list_runs(tmp_path)

    assert summary.state == summary.cells()[1] == "interrupted"
    with pytest.raises(RunError) as caught:
        require_finished(run)
    assert (caught.value.code, caught.value.facts["received"]) == ("run-not-finished", "interrupted")
