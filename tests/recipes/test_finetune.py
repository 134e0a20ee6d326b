"""Fine-tuning a finished run: what it starts from, what it refuses, what it says."""

from __future__ import annotations

import json
import os
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnncli
from cnncli.config.reader import load_resolved
from cnncli.config.schema import OptimizerConfig
from cnncli.errors import ConfigError, DataError
from cnncli.metrics.classification import evaluate_scores
from cnncli.recipes import finetune as recipe
from cnncli.recipes.finetune import FinetuneSettings, finetune, plan
from cnncli.recipes.fit import compare_with_parent
from cnncli.recipes.source import read_config
from cnncli.recipes.train import train
from cnncli.runs.folder import RunFolder
from cnncli.terminal.console import Console
from cnncli.training.steps import Scores
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, a finished run of them with a long name, and its child."""
    folder = tmp_path_factory.mktemp("place")
    config = tiny_config(draw_dataset(folder / "data"), name="n" * 100, training={"epochs": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        parent = train(config, folder / "parent", CONSOLE)
        patch.setenv("CNNCLI_CACHE", str(folder / "another"))  # where no image is known
        finetune(parent.folder, FinetuneSettings(unfreeze=1, epochs=1), folder / "child", CONSOLE)
    return folder


@pytest.fixture
def parent(place: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """The finished run, with the store that it filled."""
    monkeypatch.setenv("CNNCLI_CACHE", str(place / "cache"))
    return _run_in(place / "parent")


@pytest.fixture
def child(place: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run that continued it with defaults."""
    monkeypatch.setenv("CNNCLI_CACHE", str(place / "cache"))
    return _run_in(place / "child")


def _run_in(folder: Path) -> RunFolder:
    (path,) = folder.iterdir()
    return RunFolder(path)


def _rate(run: RunFolder, learning_rate: float | None = None) -> float:
    config = recipe._child_config(run, FinetuneSettings(learning_rate=learning_rate))
    (stage,) = config.training.stages or ()
    assert stage.optimizer is not None
    return stage.optimizer.learning_rate


def test_images_that_have_gone_or_changed_are_all_named_before_a_run_appears(
    place: Path, parent: RunFolder, tmp_path: Path
) -> None:
    """Although their features lie in the store; the same bytes with a new date are unchanged."""
    dots = place / "data" / "train" / "dots"
    gone, changed, touched = (dots / f"dots-{number:02}.png" for number in range(3))
    kept = {path: path.read_bytes() for path in (gone, changed)}
    gone.unlink()
    changed.write_bytes(touched.read_bytes())
    os.utime(touched)
    try:
        with pytest.raises(DataError) as caught:
            finetune(parent, FinetuneSettings(unfreeze=1, epochs=1), tmp_path / "runs", CONSOLE)
    finally:
        for path, data in kept.items():
            path.write_bytes(data)

    assert caught.value.problems == (
        f"{gone}: has gone",
        f"{changed}: has changed since the run was trained",
        "`cnncli train` begins anew with the images as they are now",
    )
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_has_gone_is_one_line(place: Path, parent: RunFolder, tmp_path: Path) -> None:
    """Not one for each of its images."""
    (place / "data").rename(place / "elsewhere")
    try:
        with pytest.raises(DataError) as caught:
            finetune(parent, FinetuneSettings(unfreeze=1), tmp_path / "runs", CONSOLE)
    finally:
        (place / "elsewhere").rename(place / "data")

    assert caught.value.problems == (
        f"{place / 'data'}: the images of the run are no longer here, none of 48; "
        "`cnncli train` begins anew with the images as they are now",
    )


def test_layers_that_are_not_there_are_refused_before_a_run_appears(parent: RunFolder, tmp_path: Path) -> None:
    """The message says how many there are."""
    with pytest.raises(ConfigError, match="has 2 that count"):
        finetune(parent, FinetuneSettings(unfreeze=3), tmp_path / "runs", CONSOLE)

    assert not (tmp_path / "runs").exists()


def test_the_log_of_a_child_begins_before_it_and_ends_with_the_comparison(child: RunFolder) -> None:
    """That the images were looked at, and how it stands beside its parent."""
    log = child.log.read_text().splitlines()

    assert "INFO checking images: 48 images" in log[0]
    assert "its parent: validation accuracy" in log[-1]


def test_a_child_starts_from_the_loss_its_parent_ended_with(parent: RunFolder, child: RunFolder) -> None:
    """The ledger has both, the first as the parent measured it."""
    (entry,) = json.loads(child.ledger.read_text())

    assert entry["handed_val_loss"] == json.loads(parent.metrics.read_text())["validation"]["loss"]
    assert entry["start_val_loss"] == pytest.approx(entry["handed_val_loss"], abs=1e-4)


def test_a_child_has_a_valid_config_whatever_its_parent_is_called(child: RunFolder) -> None:
    """A long name is clipped; the config can be read again."""
    assert load_resolved(child.config).name == "n" * 90 + "-finetuned"


def test_the_learning_rate_falls_to_a_tenth_once(parent: RunFolder, child: RunFolder) -> None:
    """At the first fine-tuning; after that it is the last stage's, and always what was asked for."""
    assert _rate(parent) == pytest.approx(1e-4)
    assert _rate(child) == pytest.approx(1e-4)
    assert _rate(child, 3e-5) == 3e-5


def test_a_run_of_two_stages_goes_on_at_the_rate_of_the_second(parent: RunFolder, tmp_path: Path) -> None:
    """It was fine-tuned already."""
    copy = RunFolder(Path(shutil.copytree(parent.path, tmp_path / "copy")))
    text = copy.config.read_text().replace("mode: feature-extraction", "mode: fine-tuning")
    copy.config.write_text(text)

    assert _rate(copy) == pytest.approx(OptimizerConfig().learning_rate / 10)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"learning_rate": 0.0}, ["learning_rate"]),
        ({"learning_rate": float("nan")}, ["learning_rate"]),
        ({"epochs": 0}, ["epochs"]),
        ({"unfreeze": -1, "epochs": 2.5, "learning_rate": -1e-4}, ["unfreeze", "epochs", "learning_rate"]),
        ({"unfreeze": ""}, ["unfreeze"]),
    ],
)
def test_settings_that_no_stage_can_have_are_refused(
    parent: RunFolder, settings: dict[str, Any], names: list[str]
) -> None:
    """All of them at once, from Python too; 0 is not the default in disguise."""
    with pytest.raises(ConfigError) as caught:
        cnncli.finetune(parent, **settings)

    assert [problem.partition(":")[0] for problem in caught.value.problems] == names


def test_the_head_alone_can_be_continued(parent: RunFolder) -> None:
    """0 layers are a number like others."""
    assert plan(parent, FinetuneSettings(unfreeze=0)).trained_layers == ("head_logits",)


@pytest.mark.parametrize(
    ("monitor", "loss", "accuracy", "is_worse"),
    [
        ("val_loss", 0.6, 0.9, True),
        ("val_loss", 0.4, 0.7, False),
        ("val_accuracy", 0.6, 0.9, False),
        ("val_accuracy", 0.4, 0.7, True),
        ("accuracy", 0.6, 0.9, True),
    ],
)
def test_worse_is_what_the_best_epoch_is_chosen_by(monitor: str, loss: float, accuracy: float, is_worse: bool) -> None:
    """The parent has a loss of 0.5 and an accuracy of 0.8; metrics of training images count as the loss."""
    right = round(10 * accuracy)
    scores = np.array([[0.9, 0.1]] * right + [[0.1, 0.9]] * (10 - right))
    metrics = evaluate_scores(scores, np.zeros(10, dtype=np.int64), ("a", "b"), loss=loss)
    screen = StringIO()
    compare_with_parent(Scores(accuracy=0.8, loss=0.5), metrics, monitor, Console(screen))

    assert screen.getvalue().startswith("warning: worse than its parent") is is_worse


def test_the_config_of_a_child_is_none_to_train_from(parent: RunFolder, child: RunFolder) -> None:
    """It would begin with other weights than the child did; that of a run without a parent is one."""
    with pytest.raises(ConfigError) as caught:
        cnncli.train(child.config)

    assert caught.value.problems == (
        f"{child.config}: was made by `cnncli finetune {parent.path}`, and training from it would start from other "
        "weights; repeat that command, or train from the parent's config.",
    )
    assert read_config(parent.config).name == "n" * 100


def test_the_cap_is_this_machines(parent: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment sets now, not what the parent recorded then; the child records it."""
    assert recipe._child_config(parent, FinetuneSettings()).cache.max_gb is None
    monkeypatch.setenv("CNNCLI_CACHE__MAX_GB", "2.5")

    assert recipe._child_config(parent, FinetuneSettings()).cache.max_gb == 2.5
