"""Images with several labels, from training to prediction: drawn images with a shape and a color each."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

import cnncli
from cnncli.cli import main
from cnncli.config.reader import config_from_mapping
from cnncli.config.schema import Config
from cnncli.dataset.manifest import Manifest
from cnncli.errors import DataError, RunError
from cnncli.evaluation.predictions import read_predictions
from cnncli.inference.predictor import load_spec, save_thresholds
from cnncli.metrics.multilabel import best_threshold
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.finetune import FinetuneSettings, finetune
from cnncli.recipes.predict import write_submission
from cnncli.recipes.resume import resume
from cnncli.recipes.summary import summarize_config
from cnncli.recipes.train import Run, train
from cnncli.runs.checkpoints import Checkpoints
from cnncli.runs.folder import RunFolder
from cnncli.storage.checksums import damage
from cnncli.terminal.console import Console
from tests.fault_injection.trainings import weights_digest
from tests.support.attributes import write_attributes
from tests.support.interrupted import dying_after

CONSOLE = Console(quiet=True)
SETTINGS: dict[str, Any] = {
    "backbone": {"name": "ConvNet", "weights": "none", "options": {"filters": [4, 8]}},
    "head": {"pooling": "max"},
    "training": {"epochs": 4, "batch_size": 8, "optimizer": {"learning_rate": 0.02}},
    "engine": "openvino",
    "precision": "float32",
}


def config_of(table: Path, **changes: Any) -> Config:
    """Return the config of a small ConvNet from scratch for a table with several labels per image."""
    data = {"path": table.parent, "labels": {"path": table, "separator": ";"}, "image_size": 32}
    return config_from_mapping({"mode": "from-scratch", "data": data, **SETTINGS, **changes}, environment={})


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the table of 80 images with two labels each, and 4 without labels."""
    return write_attributes(tmp_path_factory.mktemp("attributes"), 80, unlabeled=4)


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        return train(config_of(table, data={**_data(table), "class_weights": "balanced"}), folder / "runs", CONSOLE)


def _data(table: Path) -> dict[str, Any]:
    return {"path": table.parent, "labels": {"path": table, "separator": ";"}, "image_size": 32}


def _probabilities(run: Run, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities that bare Keras gives, and the labels."""
    manifest, trained = Manifest.from_csv(run.folder.manifest), cnncli.load(run.path)
    rows = manifest.split(split)
    found = cnncli.predict([row.file for row in rows], run=run.path, top=len(manifest.classes))
    named = [dict(zip(one.labels, one.probabilities, strict=True)) for one in found]
    assert trained.model.output_shape == (None, len(manifest.classes))
    return np.array([[one[name] for name in manifest.classes] for one in named]), manifest.labels(rows)


def test_metrics_equal_scikit_learns_at_the_thresholds_of_validation(run: Run) -> None:
    """Thresholds come from validation and are applied to the test images. Row 118."""
    probabilities, labels = _probabilities(run, "validation")
    thresholds = load_spec(run.folder.engine).thresholds
    expected = [best_threshold(scores, true > 0) for scores, true in zip(probabilities.T, labels.T, strict=True)]
    assert thresholds == pytest.approx(expected, abs=1e-6)

    for split in ("validation", "test"):
        probabilities, labels = _probabilities(run, split)
        predicted, found = probabilities >= np.array(thresholds), run.metrics[split]
        columns = list(zip(labels.T, probabilities.T, strict=True))
        assert found.top1 == sklearn_metrics.accuracy_score(labels, predicted)
        assert found.loss == pytest.approx(
            np.mean([sklearn_metrics.log_loss(true, p, labels=[0, 1]) for true, p in columns]),
            abs=1e-5,
        )
        expected_results = {
            "mean_average_precision": sklearn_metrics.average_precision_score(labels, probabilities),
            "micro_f1": sklearn_metrics.f1_score(labels, predicted, average="micro", zero_division=0),
            "macro_f1": sklearn_metrics.f1_score(labels, predicted, average="macro", zero_division=0),
            "roc_auc": sklearn_metrics.roc_auc_score(labels, probabilities),
            "log_loss": found.loss,
            "brier_score": np.mean([sklearn_metrics.brier_score_loss(true, p) for true, p in columns]),
        }
        assert {name: found.evaluated[name] for name in expected_results} == pytest.approx(expected_results, abs=1e-5)
        assert set(found.evaluated) == {*expected_results, "calibration_error"}
        f1 = sklearn_metrics.f1_score(labels, predicted, average=None, zero_division=0)
        assert [one.f1 for one in found.per_class] == pytest.approx(f1.tolist())


def test_evaluation_gives_the_numbers_of_training(run: Run, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON has each label with its threshold and average precision, and no confusion matrix."""
    assert main(["evaluate", str(run.path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    recorded = json.loads(run.folder.metrics.read_text())["test"]
    assert {name: document[name] for name in recorded} == recorded
    assert set(recorded) == {
        *("n", "loss", "top1", "top1_ci95", "mean_average_precision", "micro_f1", "macro_f1", "roc_auc", "log_loss"),
        *("brier_score", "calibration_error", "classes", "per_class", "reliability"),
    }
    assert set(recorded["per_class"]["red"]) == {*("precision", "recall", "f1", "n", "threshold", "average_precision")}
    assert Run.load(run.folder).metrics == run.metrics
    assert main(["evaluate", str(run.path), "--data", str(table)]) == 0
    out = capsys.readouterr().out
    assert {"mAP", "threshold", "red"} <= set(out.split())


def test_predictions_have_the_probability_of_each_label(run: Run) -> None:
    """predictions.csv has a column per label, with the values that are compared with the thresholds."""
    expected, _ = _probabilities(run, "test")
    found = [one for one in read_predictions(run.folder.predictions) if one.split == "test"]

    np.testing.assert_allclose([one.probabilities for one in found], expected, atol=1e-5)


def test_a_submission_needs_two_classes(run: Run, table: Path, tmp_path: Path) -> None:
    """A run with several labels per image is refused, and nothing is written. Row 117."""
    with pytest.raises(RunError) as caught:
        write_submission(run.folder, [str(table.parent / "000.png")], tmp_path / "submission.csv")
    assert caught.value.code == "run-not-binary"
    assert not (tmp_path / "submission.csv").exists()


def test_prediction_gives_the_labels_that_reach_their_threshold(
    run: Run, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text, JSON, CSV and Python agree; `--top` gives as many labels as it says."""
    spec, image = load_spec(run.folder.engine), str(table.parent / "000.png")
    (every,) = cnncli.predict(image, run=run.path, top=9)
    expected = [
        (label, probability)
        for label, probability in zip(every.labels, every.probabilities, strict=True)
        if probability >= spec.thresholds[spec.classes.index(label)]
    ]
    (found,) = cnncli.predict(image, run=run.path)
    assert list(zip(found.labels, found.probabilities, strict=True)) == expected
    assert len(every.labels) == 4
    assert main(["predict", image, "--run", str(run.path), "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert [(item["label"], item["probability"]) for item in one["predictions"]] == expected
    assert main(["predict", image, "--run", str(run.path), "--csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(line["label"], float(line["probability"])) for line in lines if line["label"]] == expected


def test_an_image_without_labels_is_not_left_out(
    run: Run, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has a line of its own in text and CSV, and the summary of a table counts it."""
    folder, image = tmp_path / run.path.name, str(table.parent / "000.png")
    shutil.copytree(run.path, folder)
    save_thresholds(folder / "engine", (1.0,) * 4)
    assert damage(folder / "engine") is None
    assert main(["predict", image, "--run", str(folder)]) == 0
    assert capsys.readouterr().out == f"{image}: no label\n"
    assert main(["predict", image, "--run", str(folder), "--csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == f'"{image}",0,"",""'
    assert main(["predict", image, "--run", str(folder), "--table", str(tmp_path / "found.csv")]) == 0
    assert "predicted no label 1\n" in capsys.readouterr().err


def test_a_stopped_run_ends_like_an_uninterrupted_one(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, thresholds and metrics are the same."""
    monkeypatch.setattr(Checkpoints, "save", dying_after(3, Checkpoints.save))
    with pytest.raises(KeyboardInterrupt):
        train(config_of(table, data={**_data(table), "class_weights": "balanced"}), tmp_path, CONSOLE)
    (folder,) = tmp_path.iterdir()
    resumed = resume(RunFolder(folder), CONSOLE)
    assert weights_digest(resumed.folder.model) == weights_digest(run.folder.model)
    assert resumed.metrics == run.metrics
    assert load_spec(resumed.folder.engine) == load_spec(run.folder.engine)


def test_fine_tuning_keeps_the_labels(run: Run, tmp_path: Path) -> None:
    """A child of a multi-label run is one, too, with thresholds of its own."""
    child = finetune(run.folder, FinetuneSettings("all", 1, 1e-4), tmp_path, CONSOLE)
    assert load_spec(child.folder.engine).is_multi_label
    assert child.metrics["test"].evaluated


def test_columns_of_labels_need_a_table_for_evaluation(run: Run, table: Path, tmp_path: Path) -> None:
    """A folder has no such columns."""
    folder = tmp_path / run.path.name
    shutil.copytree(run.path, folder)
    text = (folder / "config.yaml").read_text().replace("label: null", "label: [red, blue]")
    text = text.replace("separator: ;", "separator: null")
    (folder / "config.yaml").write_text(text)
    with pytest.raises(DataError) as error:
        evaluate(RunFolder(folder), CONSOLE, data=table.parent)
    assert error.value.code == "data-table-needed"


def test_thresholds_that_do_not_fit_the_manifest_are_damage(run: Run, tmp_path: Path) -> None:
    """A run is multi-label in all of its files, or in none."""
    folder = tmp_path / run.path.name
    shutil.copytree(run.path, folder)
    save_thresholds(folder / "engine", ())
    with pytest.raises(RunError) as error:
        evaluate(RunFolder(folder), CONSOLE)
    assert error.value.code == "run-file-damaged"


@pytest.mark.parametrize(("labels", "parameters"), [(("only",), 9), (("a", "b"), 18)], ids=["one", "two"])
def test_each_label_has_a_unit_of_its_own(tmp_path: Path, labels: tuple[str, ...], parameters: int) -> None:
    """Two labels do not share a unit as two classes do, and a single label is allowed."""
    write_attributes(tmp_path, 8)
    rows = [("image", "labels"), *((f"{n:03}.png", labels[n % len(labels)] if n % 3 else "") for n in range(8))]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = summarize_config(config_of(tmp_path / "labels.csv"))
    assert found.layers[-2].parameters == parameters


@pytest.mark.slow
def test_batch_size_auto_knows_several_labels(table: Path, tmp_path: Path) -> None:
    """The trial step has labels of the right shape."""
    training = {"epochs": 1, "batch_size": "auto"}
    found = train(config_of(table, training=training), tmp_path, CONSOLE)
    assert found.metrics["test"].n == 12
