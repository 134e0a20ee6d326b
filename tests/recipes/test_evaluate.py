"""Files of an evaluation in a run: predictions, outputs, figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cnncli.cli import main
from cnncli.errors import ConfigError
from cnncli.evaluation.predictions import read_predictions
from cnncli.inference.evaluate_rows import load_assessment
from cnncli.inference.prediction import Prediction
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.predict import predict
from cnncli.recipes.train import Run
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset

CONSOLE = Console(quiet=True)

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 8, 5, 6)


def test_training_writes_the_predictions_of_validation_and_test(run: Run) -> None:
    """predictions.csv has each image once, and reproduces the accuracies of the run."""
    images = read_predictions(run.folder.predictions)

    assert len({one.path for one in images}) == len(images) == 10 + 12
    for split, metrics in run.metrics.items():
        right = [one.is_correct for one in images if one.split == split]
        assert sum(right) / len(right) == pytest.approx(metrics.top1)


def test_predictions_are_those_of_predict(run: Run) -> None:
    """The predicted class of each image is the one that `predict` names first."""
    images = read_predictions(run.folder.predictions)
    found = list(predict(run.folder, [one.path for one in images]))

    assert [one.labels[0] for one in found if isinstance(one, Prediction)] == [one.predictions[0] for one in images]


def test_the_outputs_of_a_run_give_its_metrics_again(run: Run) -> None:
    """Everything about an evaluation can be computed again without the images."""
    for split, metrics in run.metrics.items():
        found = load_assessment(run.folder, split)
        assert found is not None
        assert found.metrics == metrics
        rounded = [replace(one, confidence=round(one.confidence, 6)) for one in found.images]
        assert [one for one in read_predictions(run.folder.predictions) if one.split == split] == rounded
    assert load_assessment(run.folder, "train") is None


def test_training_draws_the_figures_of_the_test(run: Run) -> None:
    """Confusion matrix, reliability diagram and curves are drawn after training."""
    names = {path.name for path in run.folder.figures.iterdir()}

    assert {"curves.png", "confusion-test.png", "reliability-test.png", "curves-test.png"} <= names


def test_evaluating_other_images_keeps_the_predictions_of_the_run(run: Run, data: Path) -> None:
    """Other splits and other folders have rows of their own, and the latter leave the outputs unchanged."""
    evaluate(run.folder, CONSOLE, "train", figures=True)
    outputs = run.folder.outputs.read_bytes()
    evaluate(run.folder, CONSOLE, data=data / "validation")
    evaluate(run.folder, CONSOLE, data=data / "validation")
    counts = dict.fromkeys(("train", "validation", "test", "data"), 0)
    for one in read_predictions(run.folder.predictions):
        counts[one.split] += 1

    assert counts == {"train": 16, "validation": 10, "test": 12, "data": 10}
    assert run.folder.outputs.read_bytes() == outputs
    assert (run.folder.figures / "confusion-train.png").is_file()


def test_the_command_shows_all_results(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The table names the metrics, and JSON has them with the bins of the reliability diagram."""
    assert main(["evaluate", str(run.path)]) == 0
    out = capsys.readouterr().out
    assert {"balanced", "AUC", "Brier", "F1"} <= set(out.split())
    assert main(["evaluate", str(run.path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)

    assert {"balanced_accuracy", "macro_f1", "roc_auc", "log_loss", "brier_score", "calibration_error"} <= set(document)
    assert sum(one["n"] for one in document["reliability"]) == document["n"]


def test_figures_of_crops_are_refused(run: Run) -> None:
    """The outputs of several crops are not kept, so they cannot be drawn."""
    with pytest.raises(ConfigError) as caught:
        evaluate(run.folder, CONSOLE, crops=5, figures=True)

    assert (caught.value.code, caught.value.facts["key"]) == ("usage-options-conflict", "figures")
