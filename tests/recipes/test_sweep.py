"""`cnncli sweep`: a grid of runs that is planned completely, resumed, and compared."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image, ImageOps

from cnncli.cli import main
from cnncli.config.search import Optuna, read_axis
from cnncli.config.sweep_plan import Cell, Draw, plan_searches
from cnncli.config.writer import dump_config
from cnncli.dataset.build import index_images
from cnncli.dataset.source import read_config
from cnncli.recipes.sweep import best_so_far, choose, count_ties, sweep
from cnncli.report import comparison
from cnncli.runs.folder import run_folders
from cnncli.runs.results import load_runs
from cnncli.terminal.console import Console
from cnncli.training.head_trials import FOLDER, HeadTrials
from cnncli.training.solvers import exact
from tests.recipes.test_compare import make_run
from tests.support.drawing import draw_dataset, tiny_config
from tests.support.figures import capture_figures


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A config of a tiny network, with drawn images."""
    draw_dataset(tmp_path / "data", 4, 2, 2)
    config = tiny_config(tmp_path / "data", name="tiny", mode="from-scratch", training={"epochs": 1})
    (tmp_path / "tiny.yaml").write_text(dump_config(config))
    return tmp_path / "tiny.yaml"


def test_a_sweep_is_trained_once(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Row 165: runs are trained and compared; the same command finds them again, and new values are added.

    The test results of settings that were not chosen by their validation accuracy are not shown.
    """
    runs = source.parent / "runs"
    words = ["sweep", str(source), "--runs-dir", str(runs), "--json", "--seeds", "0"]
    assert main([*words, "head.pooling=avg,max"]) == 0
    first = json.loads(capsys.readouterr().out)
    before = {run.path.name for run in run_folders(runs)}
    assert main([*words, "head.pooling=avg,max,flatten", "--out", str(source.parent / "sweep.png")]) == 0
    second = json.loads(capsys.readouterr().out)
    after = {run.path.name for run in run_folders(runs)}

    assert len(before) == 2
    assert before < after
    assert len(after) == 3
    assert [run["path"] for run in second["runs"]][:2] == [run["path"] for run in first["runs"]]
    assert [run["settings"] for run in second["runs"]] == [{"head.pooling": one} for one in ("avg", "max", "flatten")]
    for document in (first, second):
        assert document["lead"]["n_others"] == len(document["runs"]) - 1
        shown = [run["name"] for run in document["runs"] if "test" in run["metrics"]]
        assert shown == document["chosen"]
        assert len(shown) == 1
    assert (source.parent / "sweep.png").is_file()


def test_damaged_predictions_do_not_stop_a_sweep(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose predictions cannot be read is not among those with which the best settings are compared."""
    runs = source.parent / "runs"
    words = ["sweep", str(source), "head.pooling=avg,max,flatten", "--runs-dir", str(runs), "--json"]
    assert main(words) == 0
    chosen = json.loads(capsys.readouterr().out)["chosen"]
    next(run for run in run_folders(runs) if run.read_facts()["name"] not in chosen).predictions.write_text("damaged")

    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["lead"]["n_others"] == 1


@pytest.mark.slow
def test_a_killed_sweep_of_trainings_continues(source: Path) -> None:
    """Killed in its second of three trainings, a sweep that is started again ends as one that was never killed."""
    words = [sys.executable, "-m", "cnncli", "sweep", str(source), "training.batch_size=2,4,8", "--json", "--runs-dir"]

    def whole(runs: Path) -> list[tuple[str, str, dict[str, Any]]]:
        found = subprocess.run([*words, str(runs)], capture_output=True, text=True, check=True)
        return [(run["name"], run["state"], run["metrics"]["validation"]) for run in json.loads(found.stdout)["runs"]]

    runs = source.parent / "runs"
    with subprocess.Popen([*words, str(runs)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while len(list(run_folders(runs))) < 2 and process.poll() is None:
            time.sleep(0.02)
        process.kill()
    states = [run.read_facts()["state"] for run in run_folders(runs)]

    assert (process.returncode, states) == (-signal.SIGKILL, ["finished", "running"])
    assert whole(runs) == whole(source.parent / "uninterrupted")


def test_the_best_mean_over_seeds_is_chosen(tmp_path: Path) -> None:
    """Settings are chosen by the mean of the validation metric over their seeds, by the minimum for a loss."""
    means = {"avg": (3, 3), "max": (2, 5)}  # epochs: each has a validation accuracy of 0.1 more than the one before
    runs, cells = [], []
    for pooling, epochs in means.items():
        for seed, n_epochs in enumerate(epochs):
            name = f"{pooling}-{seed}"
            runs.append(make_run(tmp_path, name, 0.5, n_epochs))
            cells.append(Cell(tiny_config(tmp_path, name=name), (("head.pooling", pooling), ("seed", str(seed)))))

    assert choose(cells, load_runs(runs), "val_accuracy") == {"max-0", "max-1"}
    assert choose(cells[:3], load_runs(runs[:3]), "val_accuracy") == {"avg-0", "avg-1"}
    assert choose(cells[:3], load_runs(runs[:3]), "val_loss") == {"avg-0", "avg-1"}


def test_settings_that_are_as_good_as_the_chosen_ones_are_counted() -> None:
    """The first of several equal settings is chosen, and the others are ties; failed seeds cannot tie."""
    names = ("a-0", "a-1", "b-0", "b-1", "c-0", "c-1", "d-0", "d-1")
    cells = cast("Any", [SimpleNamespace(name=name, settings=(("rate", name[0]),)) for name in names])
    values = dict(zip(names[:-1], (0.5, 0.75, 0.75, 0.5, 0.5, 0.5, 0.625), strict=True))
    runs: Any = [SimpleNamespace(name=name, final=lambda _, value=value: value) for name, value in values.items()]

    assert choose(cells, runs, "val_accuracy") == {"a-0", "a-1"}
    assert count_ties(cells, runs, "val_accuracy") == 1
    assert count_ties(cells, runs, "val_loss") == 0
    assert count_ties(cells, [], "val_accuracy") == 0


def test_settings_with_a_failed_seed_are_not_the_best(tmp_path: Path) -> None:
    """The seeds that survived do not speak for settings with which others diverged, unless all settings are such."""
    cells = [SimpleNamespace(name=f"{rate}-{seed}", settings=(("rate", rate),)) for rate in "ab" for seed in range(3)]
    values = {"a-0": 0.95, "b-0": 0.9, "b-1": 0.9, "b-2": 0.9}
    runs: Any = [SimpleNamespace(name=name, final=lambda _, value=value: value) for name, value in values.items()]

    assert choose(cast("Any", cells), runs, "val_accuracy") == {"b-0", "b-1", "b-2"}
    assert choose(cast("Any", cells), runs[:2], "val_accuracy") == {"a-0"}
    assert choose(cast("Any", cells), [], "val_accuracy") == frozenset()
    points = [best_so_far(cast("Any", cells), some, "val_accuracy") for some in (runs, runs[:2])]
    assert [[(one.x, one.value) for one in some] for some in points] == [[(2, 0.9)], [(1, 0.95), (2, 0.95)]]


def test_a_failed_run_does_not_stop_a_sweep(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A learning rate at which training diverges fails its run; the others are trained, and the exit code is 2."""
    rates = "training.optimizer.learning_rate=1e30,1e-3"
    words = ["sweep", str(source), rates, "--runs-dir", str(source.parent / "runs"), "--json"]
    assert main(words) == 2
    captured = capsys.readouterr()
    states = [run["state"] for run in json.loads(captured.out)["runs"]]

    assert states == ["failed", "finished"]
    assert captured.err.splitlines()[-1].startswith("error: ")
    assert main(words) == 0  # the failed run is not trained again


def test_a_plan_lists_the_runs_and_trains_nothing(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--dry-run prints the names and values of the runs."""
    assert main(["sweep", str(source), "head.pooling=avg,max", "--dry-run", "--runs-dir", str(source.parent)]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["run", "head.pooling"],
        ["tiny-pooling-avg", "avg"],
        ["tiny-pooling-max", "max"],
    ]
    assert not list(source.parent.glob("*/run.json"))


RATES = "training.optimizer.learning_rate=1e-4..1e-1"


def test_the_best_value_so_far_never_gets_worse(tmp_path: Path) -> None:
    """Row 138: after each trial, the mean over the seeds of the best settings; failed trials count."""
    runs, cells = [], []
    for size, epochs in ((8, (3, 5)), (16, (2, 2)), (32, ()), (64, (4, 6))):  # accuracy 0.3 + 0.1 per epoch
        for seed, n_epochs in enumerate(epochs or (0, 0)):
            name = f"{size}-{seed}"
            runs += [make_run(tmp_path, name, 0.5, n_epochs)] if n_epochs else []
            pairs = (("training.batch_size", str(size)), ("seed", str(seed)))
            cells.append(Cell(tiny_config(tmp_path, name=name), pairs))
    points = best_so_far(cells, load_runs(runs), "val_accuracy")

    assert [point.x for point in points] == [1, 2, 3, 4]
    assert [point.value for point in points] == pytest.approx([0.7, 0.7, 0.7, 0.8])
    assert [(point.low, point.high) for point in points] == [
        pytest.approx(pair) for pair in [(0.6, 0.8)] * 3 + [(0.7, 0.9)]
    ]
    assert best_so_far(cells[2:], load_runs(runs), "val_loss")[0].value == pytest.approx(1.1 - 0.6)


def test_a_random_search_is_continued(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Row 138: more draws train only what is missing, and the figure shows the best so far of both searches."""
    words = ["sweep", str(source), "head.pooling=avg,max,flatten", "--runs-dir", str(source.parent / "runs"), "--json"]
    assert main([*words, "--random", "1"]) == 0
    first = json.loads(capsys.readouterr().out)
    figure = source.parent / "best.png"
    assert main([*words, "--random", "2", "--against", "head.pooling=max,avg", "--out", str(figure)]) == 0
    second = json.loads(capsys.readouterr().out)
    best = second["best_so_far"]

    assert len(first["runs"]) == len(first["best_so_far"]["random search"]) == 1
    assert second["runs"][0]["path"] == first["runs"][0]["path"]
    assert {name: len(values) for name, values in best.items()} == {"random search": 2, "grid": 2}
    assert all(values == sorted(values) for values in best.values())
    assert len(list(run_folders(source.parent / "runs"))) == len(second["runs"]) <= 3
    assert figure.is_file()


def test_both_searches_are_drawn_over_their_trials(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 138: each search is a line of steps over the number of trials."""
    figures = capture_figures(comparison, monkeypatch)
    cells = plan_searches(
        partial(read_config, source), [RATES], ["training.optimizer.learning_rate=1e-3,1e-2"], (), Draw(2)
    )
    runs = tmp_path / "runs"
    for n_epochs, cell in enumerate(cells, start=2):
        folder = make_run(runs, cell.name, 0.5, n_epochs)
        folder.config.write_text(dump_config(cell.config))
    found = sweep(cells, runs, Console(quiet=True), tmp_path / "a.png")
    lines = {str(line.get_label()): line for line in figures[0].axes[0].lines}

    assert {name: list(line.get_ydata()) for name, line in lines.items()} == {
        "random search": pytest.approx([0.5, 0.6]),
        "grid": pytest.approx([0.7, 0.8]),
    }
    assert list(lines["grid"].get_xdata()) == [1, 2]
    assert figures[0].axes[0].get_ylabel() == "best val_accuracy so far"
    assert figures[0].axes[0].get_xscale() == "linear"
    assert found.chosen == {cells[-1].name}


def test_without_validation_images_tests_are_not_shown(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is chosen by training, and tests are shown only if asked for, so that nobody chooses by them. Row 127."""
    shutil.rmtree(source.parent / "data" / "validation")
    words = ["sweep", str(source), "head.pooling=avg,max", "data.splits.validation=0"]
    words += ["training.best.monitor=last", "training.early_stopping=null", "--runs-dir", str(source.parent / "runs")]
    assert main(words) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("tiny-")][:2]
    assert main([*words, "--metric", "test_accuracy"]) == 0
    tested = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("tiny-")][:2]
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert main([*words, "--metric", "val_accuracy"]) == 2

    assert [row.count("–") for row in rows] == [2, 2]  # validation and test
    assert [row.count("–") for row in tested] == [1, 1]
    assert (document["metric"], document["chosen"], document["lead"]) == ("accuracy", [], None)
    assert all("test" in run["metrics"] for run in document["runs"])


def test_a_metric_that_no_run_will_have_is_refused_before_training(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Metrics of Keras must be in training.metrics of a run."""
    words = [
        "sweep",
        str(source),
        "training.epochs=1",
        "--runs-dir",
        str(source.parent / "runs"),
        "--metric",
        "val_auc",
    ]
    assert main(words) == 2
    assert "[usage-metric-unknown]" in capsys.readouterr().err
    assert not list(run_folders(source.parent / "runs"))
    assert main([*words, "training.metrics=[auc]", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["metric"] == "val_auc"
    assert document["chosen"]


def test_losses_that_cannot_be_compared_are_refused_before_training(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep does not choose between a hinge loss and a cross-entropy by their values."""
    words = ["sweep", str(source), "training.loss=cross-entropy,hinge", "--runs-dir", str(source.parent / "runs")]

    assert main([*words, "--metric", "val_loss"]) == 2
    assert "[usage-metric-not-comparable]" in capsys.readouterr().err
    assert not list(run_folders(source.parent / "runs"))


def add_class(data: Path) -> None:
    """Add a class to each split of a folder: the images of its first class, inverted."""
    for split in data.iterdir():
        first = min(split.iterdir())
        (split / "zebras").mkdir()
        for path in first.iterdir():
            ImageOps.invert(Image.open(path).convert("RGB")).save(split / "zebras" / path.name)


def test_losses_that_depend_on_the_number_of_classes_are_refused_before_training(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three sigmoids have a binary cross-entropy, two softmax outputs and one sigmoid the same loss."""
    add_class(source.parent / "data")
    runs = source.parent / "runs"
    words = ["sweep", str(source), "head.activation=softmax,sigmoid", "--runs-dir", str(runs)]

    assert main([*words, "--metric", "val_loss"]) == 2
    assert "[usage-metric-not-comparable]" in capsys.readouterr().err
    assert not list(run_folders(runs))


def test_a_sweep_whose_runs_turn_out_different_chooses_nothing(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was trained before a class was added has another loss: there is a table, a warning, and no choice."""
    runs, figure = source.parent / "runs", source.parent / "sweep.png"
    words = ["sweep", str(source), "head.activation=sigmoid", "--runs-dir", str(runs), "--metric", "val_loss"]
    assert main([*words, "head.pooling=avg,max"]) == 0
    add_class(source.parent / "data")
    capsys.readouterr()
    assert main([*words, "head.pooling=avg,max,flatten", "--out", str(figure)]) == 0
    captured = capsys.readouterr()
    assert main([*words, "head.pooling=avg,max,flatten", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)

    assert "[usage-metric-not-comparable]" in captured.err
    assert len([line for line in captured.out.splitlines() if line.startswith("tiny-")]) == 6  # results and settings
    assert "best" not in captured.out
    assert not figure.exists()
    assert [run["n_classes"] for run in document["runs"]] == [2, 2, 3]
    assert (document["chosen"], document["lead"]) == ([], None)


RESULTS = {"avg": 0.7, "max": 0.9, "flatten": 0.5}
"""Results that a test reports for values of head.pooling."""


def study(seed: int = 0, *axes: str) -> Optuna:
    """Return a study of a rate and a pooling, or of other settings."""
    return Optuna(
        [read_axis(text) for text in axes or ("rate=1e-4..1e-1", "head.pooling=avg,max,flatten")], seed, False
    )


def search_all(found: Optuna, n: int) -> list[tuple[str, ...]]:
    """Return n proposals; the best are max with a rate near 1e-2."""
    proposals = []
    while len(proposals) < n and (values := found.ask()) is not None:
        proposals.append(values)
        found.tell(RESULTS[values[1]] - abs(math.log10(float(values[0])) + 2) / 10)
    return proposals


def test_optuna_proposes_what_was_good() -> None:
    """Proposals are new, inside the ranges, the same for the same seed, and later ones are better than random ones."""
    proposals = search_all(study(), 40)
    rates = [float(rate) for rate, _ in proposals]

    assert len(set(proposals)) == 40
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert search_all(study(), 40) == proposals
    assert search_all(study(1), 6) != proposals[:6]
    assert sum(pooling == "max" for _, pooling in proposals[20:]) >= 12


def test_optuna_stops_after_the_last_combination() -> None:
    """A failed combination is not proposed again, and without new ones there is no proposal."""
    found, proposals = study(0, "a=1,2", "b=x,y"), []
    while (values := found.ask()) is not None:
        proposals.append(values)
        found.tell(None if values == ("1", "x") else 0.5)

    assert sorted(proposals) == [("1", "x"), ("1", "y"), ("2", "x"), ("2", "y")]


def test_a_search_of_optuna_is_continued(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More trials repeat the search with the runs that exist; settings of the architecture can be varied."""
    words = ["sweep", str(source), "backbone.options.filters=[4],[4, 8],[8]", "--runs-dir", str(source.parent / "runs")]
    words += ["training.optimizer.learning_rate=1e-3..1e-1", "--json"]
    assert main([*words, "--optuna", "2"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main([*words, "--optuna", "3", "--against", "head.pooling=avg,max"]) == 0
    second = json.loads(capsys.readouterr().out)

    assert [run["path"] for run in second["runs"]][:2] == [run["path"] for run in first["runs"]]
    assert {name: len(values) for name, values in second["best_so_far"].items()} == {"Optuna": 3, "grid": 2}
    assert [run["name"] for run in second["runs"] if "test" in run["metrics"]] == second["chosen"]
    assert len(second["chosen"]) == 1


def test_wrong_values_for_optuna_are_reported_before_training(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each value is checked with the first values of the other settings; options that contradict it are refused."""
    words = ["sweep", str(source), "--optuna", "2", "--runs-dir", str(source.parent / "runs")]
    assert main([*words, "head.pooling=avg,middle", "training.epochs=0..2"]) == 2
    problems = capsys.readouterr().err
    assert main([*words, "head.pooling=avg,max", "--random", "2"]) == 2
    assert "[usage-options-conflict]" in capsys.readouterr().err

    assert "head.pooling" in problems
    assert "training.epochs" in problems
    assert not list(run_folders(source.parent / "runs"))


def test_contradictions_do_not_stop_a_search_of_optuna(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A combination that contradicts itself is a failed trial, and is reported at the end."""
    words = ["sweep", str(source), "training.label_smoothing=0,0.1", "training.loss=cross-entropy,hinge", "--json"]
    assert main([*words, "--optuna", "4", "--runs-dir", str(source.parent / "runs")]) == 2
    captured = capsys.readouterr()
    document = json.loads(captured.out)

    assert len(document["runs"]) == 3
    assert document["chosen"]
    assert "error: " in captured.err


def test_optuna_needs_validation_images(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings are not chosen by training images."""
    shutil.rmtree(source.parent / "data" / "validation")
    words = ["sweep", str(source), "head.pooling=avg,max", "data.splits.validation=0", "--optuna", "2"]
    words += ["training.best.monitor=last", "training.early_stopping=null", "--runs-dir", str(source.parent / "runs")]

    assert main(words) == 2
    assert "[usage-optuna-without-validation]" in capsys.readouterr().err


@pytest.fixture
def heads(source: Path) -> Path:
    """The config of a frozen tiny network whose head is solved exactly."""
    config = tiny_config(source.parent / "data", name="head", training={})
    assert config.training.solver == "exact"
    path = source.with_name("heads.yaml")
    path.write_text(dump_config(config))
    return path


@pytest.mark.usefixtures("shared_cache")
def test_exact_heads_are_tried_and_the_best_becomes_a_run(heads: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The trials have the results that runs would have, and only the chosen settings have a run and a test result."""
    runs = heads.parent / "runs"
    settings, words = "head.l2=1e-4,1e-2,1,100", ["--runs-dir", str(runs), "--json"]
    assert main(["sweep", str(heads), settings, "head.pooling=avg,max", "--metric", "val_loss", *words]) == 0
    document = json.loads(capsys.readouterr().out)
    (chosen,) = document["chosen"]
    losses = {run["name"]: run["metrics"]["validation"]["loss"] for run in document["runs"]}
    tried = [run for run in document["runs"] if run["state"] == "tried"]

    lead = document["lead"]
    assert (lead["n_images"], lead["n_others"]) == (4, 7)
    assert (lead["n_better_than"], lead["n_worse_than"]) == (0, 0)
    assert set(lead["undecided"]) == {run["name"] for run in document["runs"]} - {chosen}  # four images show nothing
    assert len(document["runs"]) == 8
    assert len(tried) == 7
    assert all(run["path"] is None and "test" not in run["metrics"] for run in tried)
    assert losses[chosen] == min(losses.values())
    assert [run.path.name.partition("_")[2] for run in run_folders(runs)] == [chosen]
    assert main(["train", str(heads), "head.l2=100", "head.pooling=max", "name=other", *words]) == 0
    trained = json.loads(capsys.readouterr().out)["metrics"]["validation"]["loss"]
    assert losses["head-l2-100-pooling-max"] == pytest.approx(trained, rel=1e-4)


@pytest.mark.usefixtures("shared_cache")
def test_a_killed_sweep_of_heads_continues(heads: Path) -> None:
    """Recorded results are read again, a damaged record is solved again, and other images are other heads."""
    runs, console = heads.parent / "runs", Console(quiet=True)
    index = partial(index_images, console=console)
    config = read_config(heads, ["head.l2=0.5"])
    first = HeadTrials(runs, index, console).measure(config)
    (record,) = (runs / FOLDER).iterdir()
    seconds = record.read_text().replace(f'"seconds": {first.seconds}', '"seconds": 12345.0') if first else ""
    record.write_text(seconds)
    again = HeadTrials(runs, index, console).measure(config.model_copy(update={"name": "renamed"}))
    record.write_text(seconds[:20])
    repaired = HeadTrials(runs, index, console).measure(config)
    (heads.parent / "data" / "train" / "dots" / "dots-00.png").unlink()
    changed = HeadTrials(runs, index, console).measure(config)

    assert first
    assert again == replace(first, seconds=12345.0)
    assert repaired
    assert repaired.validation == first.validation
    assert changed
    assert changed.row.metrics != first.row.metrics
    assert len(list((runs / FOLDER).iterdir())) == 2


@pytest.mark.usefixtures("shared_cache")
def test_recorded_heads_of_another_solver_are_solved_again(heads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of the solver's source, results of both are not compared."""
    runs, console = heads.parent / "runs", Console(quiet=True)
    index, config = partial(index_images, console=console), read_config(heads, ["head.l2=0.5"])
    HeadTrials(runs, index, console).measure(config)
    (heads.parent / "exact.py").write_text("another solver")
    monkeypatch.setattr(exact, "__file__", str(heads.parent / "exact.py"))
    HeadTrials(runs, index, console).measure(config)

    assert len(list((runs / FOLDER).iterdir())) == 2


WARM = """
import sys
from cnncli.cli import main

code = main(["sweep", *sys.argv[1:]])
print(code, *sorted(name for name in ("tensorflow", "keras", "optuna") if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.usefixtures("shared_cache")
def test_heads_are_tried_without_tensorflow(heads: Path) -> None:
    """With cached features, a sweep of exact heads imports neither TensorFlow nor, unless it is asked for, Optuna."""
    words = [str(heads), "head.l2=0.01,1", "--runs-dir", str(heads.parent / "runs")]
    main(["sweep", *words])
    found = subprocess.run(
        [sys.executable, "-c", WARM, *words, "training.label_smoothing=0,0.1"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stderr.splitlines()[-1] == "0"


def test_without_optuna_the_error_has_the_command_that_installs_it(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the extra, before anything is trained."""
    monkeypatch.setitem(sys.modules, "optuna", None)

    assert main(["sweep", str(source), RATES, "--optuna", "2", "--runs-dir", str(source.parent / "runs")]) == 2
    error = capsys.readouterr().err
    assert "[usage-optuna-not-installed]" in error
    assert "pip install 'cnncli[sweep]'" in error
