"""Training without validation images (data.splits.validation: 0): the last epoch is kept, and every command works."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnncli
from cnncli.config.reader import config_from_mapping
from cnncli.config.schema import Config
from cnncli.errors import RunError
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.finetune import FinetuneSettings, finetune
from cnncli.recipes.resume import resume
from cnncli.recipes.train import Run, train
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import list_runs
from cnncli.runs.records import read_history
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)


def _config(path: Path, splits: dict[str, float], **training: Any) -> Config:
    """Return the tiny config without validation images, completed as when it is read from a file."""
    settings = tiny_config(path).model_dump(mode="json", exclude_unset=True)
    settings["data"]["splits"] = splits
    settings["training"] |= training
    return config_from_mapping(settings, environment={})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw forty-eight images in class folders without split folders."""
    folder = tmp_path_factory.mktemp("images")
    draw_dataset(folder / "drawn", train=24, validation=0, test=0)
    return Path(shutil.copytree(folder / "drawn" / "train", folder / "classes"))


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train on all images except those for the test."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        return train(_config(images, {"validation": 0, "test": 0.25}), folder / "runs", CONSOLE)


def test_the_last_epoch_is_kept(run: Run) -> None:
    """No epoch is better than a later one, and nothing ends training early. Row 127."""
    history = read_history(run.folder.history)

    assert json.loads(run.folder.facts.read_text())["best_epoch"] == len(history) == 3
    assert {name for row in history for name in row.metrics} == {"loss", "accuracy"}
    assert [len(Path(run.folder.manifest).read_text().splitlines()), set(run.metrics)] == [49, {"test"}]
    assert run.folder.curves.is_file()
    (stage,) = json.loads(run.folder.stages.read_text())
    assert (stage["start_val_loss"], stage["end_val_loss"]) == (None, None)


def test_every_command_works_on_such_a_run(run: Run, images: Path, tmp_path: Path) -> None:
    """Listing, evaluation and prediction do not need validation metrics, and a missing split is named. Row 127."""
    folder = RunFolder(Path(shutil.copytree(run.path, tmp_path / "run")))
    (listed,) = list_runs(tmp_path)

    assert (listed.val_accuracy, listed.test_n, listed.problem) == (None, 12, None)
    assert "–" in listed.cells()
    assert evaluate(folder, CONSOLE).split == "test"
    with pytest.raises(RunError) as caught:
        evaluate(folder, CONSOLE, split="validation")
    assert caught.value.code == "run-split-missing"
    found = cnncli.predict([next((images / "dots").iterdir())], run=folder)
    assert len(found) == 1


def test_such_a_run_can_be_extended_and_fine_tuned(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More epochs continue it, and a child also keeps its last epoch."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cache"))
    folder = RunFolder(Path(shutil.copytree(run.path, tmp_path / "run")))
    resume(folder, CONSOLE, epochs=4)
    child = finetune(folder, FinetuneSettings(unfreeze=1, epochs=2), tmp_path / "runs", CONSOLE)

    assert json.loads(folder.facts.read_text())["best_epoch"] == 4
    assert json.loads(child.folder.facts.read_text())["best_epoch"] == 2


@pytest.mark.parametrize("test", [0.0, 0.25])
def test_split_folders_without_a_validation_folder_stay_as_they_are(tmp_path: Path, test: float) -> None:
    """Nothing is taken from train, with or without test images; without both, no metric is reported at the end."""
    data = draw_dataset(tmp_path / "data", train=8, validation=0, test=4 if test else 0)
    for empty in ("validation", *(() if test else ("test",))):
        shutil.rmtree(data / empty)
    finished = train(_config(data, {"validation": 0}, epochs=1), tmp_path / "runs", CONSOLE)

    assert set(finished.metrics) == ({"test"} if test else set())
    assert finished.folder.manifest.read_text().count('"train"') == 16


def test_test_images_can_select_the_epoch_if_their_folder_is_named_validation(tmp_path: Path) -> None:
    """As in notebooks that validate on the test set, the reported metrics are then those of validation. Row 128."""
    data = draw_dataset(tmp_path / "data", train=8, validation=0, test=8)
    shutil.rmtree(data / "validation")
    (data / "test").rename(data / "validation")
    finished = train(tiny_config(data), tmp_path / "runs", CONSOLE)

    assert finished.metrics.keys() == {"validation"}
    assert evaluate(finished.folder, CONSOLE).split == "validation"


def test_the_last_epoch_can_be_kept_although_there_are_validation_images(tmp_path: Path) -> None:
    """`training.best.monitor: last` ends with the weights of the last epoch, even if an earlier one was better."""
    wild = {"epochs": 3, "best": {"monitor": "last"}, "optimizer": {"name": "sgd", "learning_rate": 30.0}}
    finished = train(tiny_config(draw_dataset(tmp_path / "data"), training=wild), tmp_path / "runs", CONSOLE)
    history = read_history(finished.folder.history)

    assert min(history, key=lambda row: row.metrics["val_loss"]).epoch < 3
    np.testing.assert_allclose(finished.metrics["validation"].loss, history[-1].metrics["val_loss"], rtol=1e-4)
