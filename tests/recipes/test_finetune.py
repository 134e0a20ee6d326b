"""Fine-tuning a finished run: its initial weights, the errors, and the comparison with the parent."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnncli
from cnncli.config.reader import load_resolved
from cnncli.config.training_settings import OptimizerConfig
from cnncli.dataset.source import read_config
from cnncli.errors import ConfigError, DataError
from cnncli.metrics.classification import evaluate_logits
from cnncli.recipes import finetune as recipe
from cnncli.recipes.finetune import FinetuneSettings, finetune, plan
from cnncli.recipes.train import train
from cnncli.runs.folder import RunFolder
from cnncli.terminal.console import Console
from cnncli.training.advice import compare_with_parent
from tests.support.drawing import draw_dataset, tiny_config
from tests.support.logged import codes_in

CONSOLE = Console(quiet=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images, train a run with a long name, and fine-tune it."""
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
    """Return the finished run, with the cache that it filled."""
    monkeypatch.setenv("CNNCLI_CACHE", str(place / "cache"))
    return _run_in(place / "parent")


@pytest.fixture
def child(place: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Return the fine-tuned run."""
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
    """Missing and changed images are reported although their features are cached; a new date alone is no change."""
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

    assert caught.value.codes == ("data-image-changed", "data-image-changed", "data-images-changed")
    assert [problem.facts["path"] for problem in caught.value.problems[:2]] == [gone, changed]
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_has_gone_is_one_line(place: Path, parent: RunFolder, tmp_path: Path) -> None:
    """A missing folder is one problem, not one problem per image."""
    (place / "data").rename(place / "elsewhere")
    try:
        with pytest.raises(DataError) as caught:
            finetune(parent, FinetuneSettings(unfreeze=1), tmp_path / "runs", CONSOLE)
    finally:
        (place / "elsewhere").rename(place / "data")

    assert caught.value.codes == ("data-images-missing",)
    assert caught.value.facts["path"] == place / "data"


def test_layers_that_are_not_there_are_refused_before_images_are_read(
    place: Path, parent: RunFolder, tmp_path: Path
) -> None:
    """An unknown layer is an error before the images are checked and a run directory is created."""
    (place / "data").rename(place / "elsewhere")
    try:
        with pytest.raises(ConfigError) as caught:
            finetune(parent, FinetuneSettings(unfreeze=3), tmp_path / "runs", CONSOLE)
    finally:
        (place / "elsewhere").rename(place / "data")

    assert (caught.value.code, caught.value.facts["expected"]) == ("cut-too-many-layers", 2)
    assert not (tmp_path / "runs").exists()


def test_the_log_of_a_child_begins_before_it_and_ends_with_the_comparison(child: RunFolder) -> None:
    """The run's log starts with the network and the check of the images, and ends with the comparison."""
    log = child.log.read_text().splitlines()

    assert "INFO network" in log[0]
    assert any("INFO checking images: 48 images" in line for line in log[1:3])
    assert "the parent run" in log[-1]


def test_a_child_starts_from_the_loss_its_parent_ended_with(parent: RunFolder, child: RunFolder) -> None:
    """The stage's inherited and initial validation losses equal the parent's final loss."""
    (entry,) = json.loads(child.stages.read_text())

    assert entry["inherited_val_loss"] == json.loads(parent.metrics.read_text())["validation"]["loss"]
    assert entry["start_val_loss"] == pytest.approx(entry["inherited_val_loss"], abs=1e-4)


def test_a_child_has_a_valid_config_whatever_its_parent_is_called(child: RunFolder) -> None:
    """A long run name is shortened, and the config can be read again."""
    assert load_resolved(child.config).name == "n" * 90 + "-finetuned"


def test_the_learning_rate_falls_to_a_tenth_once(parent: RunFolder, child: RunFolder) -> None:
    """The learning rate is a tenth of the parent's only for the first fine-tuning, unless it is set."""
    assert _rate(parent) == pytest.approx(1e-4)
    assert _rate(child) == pytest.approx(1e-4)
    assert _rate(child, 3e-5) == 3e-5


def test_a_run_of_two_stages_goes_on_at_the_rate_of_the_second(parent: RunFolder, tmp_path: Path) -> None:
    """A run with a fine-tuning stage counts as fine-tuned: the child keeps the learning rate of that stage."""
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
    """All invalid values are reported together; 0 is not taken for the default."""
    with pytest.raises(ConfigError) as caught:
        cnncli.finetune(parent, **settings)

    assert [problem.facts["key"] for problem in caught.value.problems] == names
    assert set(caught.value.codes) == {"usage-finetune-value"}


def test_only_the_head_can_be_continued(parent: RunFolder) -> None:
    """With `unfreeze=0`, only the head is trained."""
    assert plan(parent, FinetuneSettings(unfreeze=0)).trained_layers == ("head_logits",)


@pytest.mark.parametrize(
    ("monitor", "best", "loss", "accuracy", "code"),
    [
        ("val_loss", 2, 0.6, 0.9, "training-no-better-than-parent"),
        ("val_loss", 2, 0.4, 0.7, "training-compared-with-parent"),
        ("val_accuracy", 2, 0.6, 0.9, "training-compared-with-parent"),
        ("val_accuracy", 2, 0.4, 0.7, "training-no-better-than-parent"),
        ("val_accuracy", 2, 0.4, 0.1, "training-worse-than-parent"),
        ("accuracy", 2, 0.6, 0.9, "training-no-better-than-parent"),
        ("val_loss", 0, 0.5, 0.8, "training-parent-kept"),
    ],
)
def test_a_child_is_compared_with_its_parent_by_the_metric_of_the_best_epoch(
    monitor: str, best: int, loss: float, accuracy: float, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Child and parent are compared by the monitored metric; a difference inside the interval is "no better"."""
    n_correct = round(10 * accuracy)
    scores = np.array([[0.9, 0.1]] * n_correct + [[0.1, 0.9]] * (10 - n_correct))
    found = evaluate_logits(np.log(scores), np.zeros(10, dtype=np.int64), ("a", "b"), "softmax")
    metrics = replace(found, values={**found.values, "loss": loss})
    caplog.set_level("INFO")
    compare_with_parent({"accuracy": 0.8, "loss": 0.5}, best, metrics, monitor)

    assert codes_in(caplog) == [code]


def test_the_config_of_a_child_is_refused(parent: RunFolder, child: RunFolder) -> None:
    """A fine-tuned run's config is refused, as it would start from other weights; the parent's config is accepted."""
    with pytest.raises(ConfigError) as caught:
        cnncli.train(child.config)

    assert caught.value.codes == ("usage-config-of-finetuned-run",)
    assert (caught.value.facts["path"], caught.value.facts["parent"]) == (child.config, str(parent.path))
    assert read_config(parent.config).name == "n" * 100


def test_the_cap_is_this_machines(parent: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache limit in the environment replaces the one that the parent recorded."""
    assert recipe._child_config(parent, FinetuneSettings()).cache.max_gb is None
    monkeypatch.setenv("CNNCLI_CACHE__MAX_GB", "2.5")

    assert recipe._child_config(parent, FinetuneSettings()).cache.max_gb == 2.5
