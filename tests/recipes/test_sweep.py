"""`cnncli sweep`: a grid of runs that is planned completely, resumed, and compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cnncli.cli import main
from cnncli.config.schema import Config
from cnncli.config.writer import dump_config
from cnncli.dataset.source import read_config
from cnncli.errors import ConfigError
from cnncli.recipes.sweep import Cell, choose, plan_sweep
from cnncli.runs.folder import run_folders
from tests.recipes.test_compare import make_run
from tests.support.drawing import draw_dataset, tiny_config


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A config of a tiny network, with drawn images."""
    draw_dataset(tmp_path / "data", 4, 2, 2)
    config = tiny_config(tmp_path / "data", name="tiny", mode="from-scratch", training={"epochs": 1})
    (tmp_path / "tiny.yaml").write_text(dump_config(config))
    return tmp_path / "tiny.yaml"


def reader(source: Path) -> Callable[[Sequence[str]], Config]:
    """Return the function that reads a config with overrides."""
    return lambda overrides: read_config(source, overrides)


def test_a_grid_has_all_combinations_and_seeds(source: Path) -> None:
    """Every combination is a run with a name of its own; single values apply to all runs but are not in names."""
    cells = plan_sweep(reader(source), ["head.pooling=avg,max", "training.epochs=2"], (3, 4))

    assert [cell.name for cell in cells] == [
        "tiny-pooling-avg-seed-3",
        "tiny-pooling-avg-seed-4",
        "tiny-pooling-max-seed-3",
        "tiny-pooling-max-seed-4",
    ]
    assert [(cell.config.head.pooling, cell.config.seed) for cell in cells] == [
        ("avg", 3),
        ("avg", 4),
        ("max", 3),
        ("max", 4),
    ]
    assert {cell.config.training.epochs for cell in cells} == {2}


def test_commas_inside_brackets_do_not_separate_values(source: Path) -> None:
    """Lists and groups are single values, and names that cannot contain them end with a digest."""
    cells = plan_sweep(
        reader(source), ["backbone.options={filters: [4, 8]},{filters: [8, 16]}", "data.image_size=[32, 40]"]
    )

    assert [cell.config.backbone.options for cell in cells] == [{"filters": [4, 8]}, {"filters": [8, 16]}]
    assert {cell.config.data.image_size for cell in cells} == {(32, 40)}
    assert len({cell.name for cell in cells}) == 2


def test_long_names_are_shortened_and_remain_different(source: Path) -> None:
    """Names have at most 100 characters, also for long values that differ only at their end."""
    values = [f"[{{dense: 8}}, {', '.join(['{dropout: 0.5}'] * 20)}, {{dense: {n}}}]" for n in (1, 2)]
    names = [cell.name for cell in plan_sweep(reader(source), [f"head.layers={','.join(values)}"])]

    assert max(map(len, names)) <= 100
    assert len(set(names)) == 2


def test_all_problems_of_a_grid_are_reported_at_once(source: Path) -> None:
    """Wrong values of several runs are reported together, each once, before anything is trained."""
    with pytest.raises(ConfigError) as caught:
        plan_sweep(reader(source), ["training.epochs=1,ten,0", "head.pooling=avg,max"])

    assert [problem.facts["received"] for problem in caught.value.problems] == ["ten", 0]


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
        shown = [run["name"] for run in document["runs"] if "test" in run["metrics"]]
        assert shown == document["chosen"]
        assert len(shown) == 1
    assert (source.parent / "sweep.png").is_file()


def test_the_best_mean_over_seeds_is_chosen(tmp_path: Path) -> None:
    """Settings are chosen by the mean of the validation metric over their seeds, by the minimum for a loss."""
    means = {"avg": (3, 3), "max": (2, 5)}  # epochs: each has a validation accuracy of 0.1 more than the one before
    runs, cells = [], []
    for pooling, epochs in means.items():
        for seed, n_epochs in enumerate(epochs):
            name = f"{pooling}-{seed}"
            runs.append(make_run(tmp_path, name, 0.5, n_epochs))
            cells.append(Cell(tiny_config(tmp_path, name=name), (("head.pooling", pooling), ("seed", str(seed)))))

    assert choose(cells, runs, "val_accuracy") == {"max-0", "max-1"}
    assert choose(cells[:3], runs[:3], "val_accuracy") == {"avg-0", "avg-1"}
    assert choose(cells[:3], runs[:3], "val_loss") == {"avg-0", "avg-1"}


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
