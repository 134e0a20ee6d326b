"""Runs with other losses than cross-entropy: defaults, contradictions, and the loss that is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnncli
from cnncli.config.reader import config_from_mapping
from cnncli.dataset.manifest import Manifest
from cnncli.errors import ConfigError
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.resume import resume
from cnncli.recipes.train import Run, train
from cnncli.runs.checkpoints import Checkpoint, Checkpoints
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import read_history
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset
from tests.support.interrupted import dying_after

CONSOLE = Console(quiet=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return three classes of drawn images."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 8, 4, 4, classes=("stripes", "dots", "spots"))


def run_with(images: Path, folder: Path, loss: str, others: dict[str, Any] | None = None, **data: Any) -> Run:
    """Train a small ConvNet with a loss."""
    others = others or {}
    settings = {
        **others,
        "mode": "from-scratch",
        "data": {"path": images, "image_size": 32, **data},
        "backbone": {"name": "ConvNet", "options": {"filters": [4]}},
        "training": {"epochs": 2, **others.get("training", {}), "loss": loss},
        "engine": "openvino",
        "precision": "float32",
    }
    return train(config_from_mapping(settings, environment={}), folder, CONSOLE)


def logits_of(run: Run, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs of the run's model in bare Keras, and the labels."""
    from PIL import Image

    manifest = Manifest.from_csv(run.folder.manifest)
    rows = manifest.split(split)
    pixels = np.stack([np.asarray(Image.open(row.path), np.float32) for row in rows])
    return cnncli.load(run.path).model.predict(pixels, verbose=0), manifest.labels(rows)


def test_hinge_has_a_linear_head_and_is_reported_everywhere(data: Path, tmp_path: Path) -> None:
    """History, metrics.json and `evaluate` have the multiclass SVM loss of the model's scores. Row 110."""
    run = run_with(data, tmp_path, "hinge", class_weights="balanced")
    scores, labels = logits_of(run, "validation")
    own = scores[np.arange(len(labels)), labels][:, None]
    expected = float((np.maximum(0, scores - own + 1).sum(axis=1) - 1).mean())
    assert run.metrics["validation"].loss == pytest.approx(expected, rel=1e-4)
    assert evaluate(run.folder, CONSOLE, "validation").metrics.loss == run.metrics["validation"].loss
    best = json.loads(run.folder.facts.read_text())["best_epoch"]
    assert read_history(run.folder.history)[best - 1].metrics["val_loss"] == pytest.approx(expected, rel=1e-4)
    assert "activation: linear" in run.folder.config.read_text()
    (found,) = cnncli.predict(next((data / "test" / "dots").iterdir()), run=run.path)
    assert sum(found.probabilities) == pytest.approx(1.0)


@pytest.mark.parametrize("loss", ["mean_absolute_error", "squared-error"])
def test_other_losses_are_those_of_the_probabilities(data: Path, tmp_path: Path, loss: str) -> None:
    """Names of Keras are accepted in both of its spellings. Rows 113 and 114."""
    run = run_with(data, tmp_path, loss)
    outputs, labels = logits_of(run, "test")
    difference = np.eye(3)[labels] - outputs
    expected = np.abs(difference).mean(axis=1) if "absolute" in loss else (difference**2).sum(axis=1) / 2
    assert run.metrics["test"].loss == pytest.approx(float(expected.mean()), rel=1e-4)
    assert evaluate(RunFolder(run.path), CONSOLE).metrics.loss == run.metrics["test"].loss


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"training": {"loss": "hinge", "label_smoothing": 0.1}}, "training.label_smoothing"),
        ({"training": {"loss": "hinge"}, "head": {"activation": "sigmoid"}}, "training.loss"),
        ({"training": {"loss": "poisson"}, "head": {"activation": "linear"}}, "training.loss"),
        (
            {"training": {"loss": "focal"}, "data": {"labels": {"separator": "_"}, "class_weights": "balanced"}},
            "data.class_weights",
        ),
    ],
    ids=["smoothing", "sigmoid", "logarithm", "weights of labels"],
)
def test_settings_that_contradict_the_loss_are_refused(data: Path, settings: dict[str, Any], key: str) -> None:
    """Each problem names the setting."""
    settings = {**settings, "data": {"path": data, **settings.get("data", {})}}
    with pytest.raises(ConfigError) as error:
        config_from_mapping(settings, environment={})
    assert [(one.code, one.facts["key"]) for one in error.value.problems] == [("config-contradiction-loss", key)]


def test_an_unknown_loss_is_refused_with_a_suggestion(data: Path) -> None:
    """The most similar name is suggested."""
    with pytest.raises(ConfigError) as error:
        config_from_mapping({"data": {"path": data}, "training": {"loss": "hnige"}}, environment={})
    assert error.value.code == "config-unknown-name"
    assert "hinge" in str(error.value.problems[0])


def test_penalties_are_shown_apart_from_the_loss(data: Path, tmp_path: Path) -> None:
    """The history has the penalty of the weights at the end of each epoch; the loss is without it. Rows 104 and 112."""
    l1, l2 = 0.01, 0.1
    settings = {"head": {"l1": l1, "l2": l2}, "training": {"epochs": 2, "best": {"monitor": "last"}}}
    run = run_with(data, tmp_path, "cross-entropy", settings)
    kernel = cnncli.load(run.path).model.get_layer("head_logits").get_weights()[0]
    row = read_history(run.folder.history)[-1]
    assert row.penalty == pytest.approx(float(l1 * np.abs(kernel).sum() + l2 * np.square(kernel).sum()), rel=1e-5)
    assert "· penalty 0." in row.scores()
    outputs, labels = logits_of(run, "validation")
    expected = -np.log(outputs[np.arange(len(labels)), labels]).mean()
    assert row.metrics["val_loss"] == pytest.approx(float(expected), rel=1e-4)


def test_a_run_without_penalties_has_no_such_column(data: Path, tmp_path: Path) -> None:
    """The history has the columns that it always had."""
    run = run_with(data, tmp_path, "cross-entropy", {"training": {"epochs": 1}})
    assert run.folder.history.read_text().splitlines()[0] == (
        "stage,epoch,learning_rate,loss,accuracy,val_loss,val_accuracy,seconds,images_per_s"
    )


def test_metrics_of_keras_are_shown_and_monitored(data: Path, tmp_path: Path) -> None:
    """They are in history, metrics.json and `evaluate`, and a monitored one need not be listed. Row 114."""
    training = {"epochs": 3, "metrics": ["AUC", "F1Score"], "best": {"monitor": "val_recall"}}
    run = run_with(data, tmp_path, "cross-entropy", {"training": training})
    rows, names = read_history(run.folder.history), ("auc", "f1_score", "recall")
    assert all({*names, *(f"val_{name}" for name in names)} <= row.metrics.keys() for row in rows)
    best = json.loads(run.folder.facts.read_text())["best_epoch"]
    assert rows[best - 1].metrics["val_recall"] == max(row.metrics["val_recall"] for row in rows)
    for name in names:
        assert run.metrics["validation"].values[name] == pytest.approx(rows[best - 1].metrics[f"val_{name}"], abs=1e-5)
    again = evaluate(run.folder, CONSOLE, "validation").metrics
    assert again == run.metrics["validation"]
    assert Run.load(run.folder).metrics == run.metrics


def test_an_interrupted_epoch_keeps_what_metrics_need(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run ends with the same history as an uninterrupted one."""
    settings = {"training": {"epochs": 2, "metrics": ["f1_score"], "batch_size": 4}, "head": {"l2": 0.1}}
    whole = run_with(data, tmp_path / "whole", "cross-entropy", settings)
    saved: list[Checkpoint] = []
    monkeypatch.setattr(Checkpoints, "save", dying_after(3, Checkpoints.save, saved))
    monkeypatch.setattr("cnncli.runs.records.CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr("cnncli.runs.records.MAX_CHECKPOINT_FRACTION", 1e9)
    with pytest.raises(KeyboardInterrupt):
        run_with(data, tmp_path / "stopped", "cross-entropy", settings)
    assert not saved[-1].is_between_epochs
    (folder,) = (tmp_path / "stopped").iterdir()
    resumed = resume(RunFolder(folder), CONSOLE)
    ours, theirs = (read_history(run.folder.history) for run in (resumed, whole))
    assert [(row.metrics, row.penalty) for row in ours] == [(row.metrics, row.penalty) for row in theirs]


def test_an_unknown_metric_is_refused(data: Path) -> None:
    """In the list and as a monitor, with the most similar name."""
    training = {"metrics": ["f1_scor"], "best": {"monitor": "val_acu"}}
    with pytest.raises(ConfigError) as error:
        config_from_mapping({"data": {"path": data}, "training": training}, environment={})
    assert {one.code for one in error.value.problems} == {"config-unknown-name", "config-unknown-choice"}
    assert "f1_score" in str(error.value.problems[0])
