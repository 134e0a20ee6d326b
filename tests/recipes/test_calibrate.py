"""A run knows which images it should not answer."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cnncli
from cnncli.cli import main
from cnncli.errors import ConfigError, RunError
from cnncli.evaluation.calibration import Calibration
from cnncli.evaluation.predictions import read_predictions
from cnncli.inference.prediction import Prediction
from cnncli.inference.predictor import load_predictor, load_spec
from cnncli.recipes.calibrate import calibrate
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.predict import predict
from cnncli.recipes.train import Run, train
from cnncli.runs.folder import RunFolder
from cnncli.storage.safe_io import read_json
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, draw_image, tiny_config

CONSOLE = Console(quiet=True)
BLACK = np.zeros((32, 32, 3), np.uint8)

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 20, 20, 6)


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> RunFolder:
    """Copy the run, so that it can be calibrated."""
    return RunFolder(Path(shutil.copytree(run.path, tmp_path / run.path.name)))


def test_the_coverage_of_the_config_is_kept_on_validation(run: Run) -> None:
    """Of the 40 validation images, 95 % are answered, and the others are unknown."""
    images = [one for one in read_predictions(run.folder.predictions) if one.split == "validation"]

    assert sum(one.unknown is False for one in images) == 38
    assert sum(one.unknown is True for one in images) == 2


def test_predict_agrees_with_the_evaluation(run: Run) -> None:
    """The same image has the same confidence, and is unknown or not, in `predict` and in predictions.csv."""
    images = read_predictions(run.folder.predictions)
    found = [one for one in predict(run.folder, [one.path for one in images]) if isinstance(one, Prediction)]

    assert [one.unknown for one in found] == [one.unknown for one in images]
    assert [one.confidence for one in found] == pytest.approx([one.confidence for one in images], abs=1e-5)


def test_an_image_that_is_none_of_the_classes_is_unknown(run: Run) -> None:
    """A black image is unlike stripes and dots; with a coverage of 1, it is answered all the same."""
    (one,) = cnncli.predict(BLACK, run=run)
    (answered,) = cnncli.predict(BLACK, run=run, coverage=1.0)

    assert one.unknown
    assert one.labels == answered.labels
    assert answered.unknown is False


def test_every_image_of_json_says_whether_it_is_unknown(
    run: Run, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON and CSV have `unknown` for each image; text has it instead of the classes, which follow in parentheses."""
    words = ["predict", "--run", str(run.path), str(data / "validation")]
    assert main([*words, "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    always = {"path", "predictions", "confidence", "unknown"}
    assert [set(one) for one in entries] == [always | ({"reason"} if one["unknown"] else set()) for one in entries]
    assert sum(one["unknown"] for one in entries) == 2

    assert main([*words, "--csv", "--top", "1"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["unknown"] for row in rows] == [str(one["unknown"]).lower() for one in entries]

    assert main([*words, "--top", "1", "--coverage", "0.5"]) == 0
    assert sum(": unknown, u" in line for line in capsys.readouterr().out.splitlines()) == 20


def test_an_unknown_image_has_the_reason(copy: RunFolder, data: Path) -> None:
    """A black image is unlike the others; with a high cost, the class of an ordinary one needs a higher confidence."""
    path = next((data / "validation").rglob("*.png"))
    (black,) = predict(copy, [BLACK])
    calibrate(copy, coverage=1.0, costs=dict.fromkeys(load_spec(copy.engine).classes, 1e12))
    (ordinary,) = predict(copy, [path])

    assert isinstance(black, Prediction)
    assert isinstance(ordinary, Prediction)
    assert (black.unknown, black.reason) == (True, "unlike the training images")
    assert (ordinary.unknown, ordinary.reason) == (True, "below the minimum confidence")


def test_a_precision_is_reached_on_validation(copy: RunFolder) -> None:
    """Each class is answered from the confidence on at which its answers are right as often as wanted."""
    found = calibrate(copy, coverage=1.0, precision=0.95)

    for one in found.classes:
        assert one.precision is None or one.precision >= 0.95
    assert Calibration.load(copy.engine, 2) == found.calibration
    assert found.calibration.coverage == 1.0


def test_predictions_and_report_follow_a_calibration(copy: RunFolder) -> None:
    """Everything in the run is that of the new calibration: what is unknown in `predict` is in predictions.csv, too."""
    before = copy.report.read_text()
    calibrate(copy, coverage=0.5)
    images = [one for one in read_predictions(copy.predictions) if one.split == "validation"]

    assert sum(one.unknown is True for one in images) == 20
    assert copy.report.read_text() != before


@pytest.mark.parametrize("name", ["metrics.json", "predictions.csv"])
def test_a_damaged_file_is_reported_before_anything_is_written(name: str, copy: RunFolder) -> None:
    """A calibration never leaves a run with the results of another one."""
    (copy.path / name).write_text("{")
    before = load_predictor(copy.engine, copy.model).calibration
    with pytest.raises(RunError) as caught:
        calibrate(copy, coverage=0.5)

    assert caught.value.facts["path"] == copy.path / name
    assert load_predictor(copy.engine, copy.model).calibration == before


def test_costs_and_precision_apply_together(copy: RunFolder) -> None:
    """The stricter of two limits applies; without options, limits of an earlier call are removed."""
    found = calibrate(copy, precision=0.5, costs={"dots": 10})
    assert found.calibration.min_confidences[0] == pytest.approx(0.9)
    assert calibrate(copy).calibration.min_confidences == ()
    assert calibrate(copy).calibration.coverage == 0.95


def test_evaluation_reports_what_is_answered(copy: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """After a calibration, `evaluate` and `predict` use it, and JSON has calibration, answers and curve."""
    calibrate(copy, coverage=0.5)
    assert main(["evaluate", str(copy.path), "--split", "validation", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)

    assert (document["answers"]["n"], document["answers"]["answered"]) == (40, 20)
    assert document["answers"]["curve"][-1] == {"coverage": 1.0, "accuracy": document["top1"]}
    assert set(document["calibration"]) == {"temperature", "log_loss", "brier_score", "calibration_error"}
    assert document["calibration"]["log_loss"] <= document["log_loss"]


def test_the_command_prints_accuracies_and_limits(copy: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has the accuracy over the coverage and, with a precision or costs, the limits of the classes."""
    assert main(["calibrate", str(copy.path), "--coverage", "0.9", "--precision", "0.9", "--cost", "dots=20"]) == 0
    out = capsys.readouterr().out
    assert {"temperature", "answered", "dots", "stripes", "95.0"} <= set(out.split())
    assert main(["calibrate", str(copy.path), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["classes"]) == {"dots", "stripes"}


def test_wrong_values_are_reported_together(copy: RunFolder) -> None:
    """Fractions out of range, unknown classes and costs below that of unknown are errors."""
    with pytest.raises(ConfigError) as caught:
        calibrate(copy, coverage=1.5, precision=0.0, costs={"dot": 5, "dots": 0.5})

    assert caught.value.codes == (*("usage-value-invalid",) * 2, "usage-class-unknown", "usage-value-invalid")
    with pytest.raises(ConfigError):
        list(predict(copy, [], coverage=2.0))


def test_a_run_without_validation_answers_every_image(data: Path, tmp_path: Path) -> None:
    """Without validation images there is no doubt; asking for a coverage is an error."""
    shutil.copytree(data / "train", tmp_path / "images")
    settings = {"path": tmp_path / "images", "image_size": 32, "splits": {"validation": 0, "test": 0.25}}
    folder = train(tiny_config(tmp_path / "images", data=settings, training={}), tmp_path / "runs", CONSOLE).folder
    (one,) = (one for one in predict(folder, [BLACK]) if isinstance(one, Prediction))

    assert (one.unknown, one.confidence) == (None, None)
    assert "unknown" not in one.to_dict()
    for action in (lambda: calibrate(folder), lambda: list(predict(folder, [BLACK], coverage=0.9))):
        with pytest.raises(RunError) as caught:
            action()
        assert caught.value.code == "run-not-calibrated"


def test_a_coverage_of_null_answers_every_image(data: Path, tmp_path: Path) -> None:
    """With `evaluation.coverage: null`, nothing is unknown unless a coverage is given."""
    config = tiny_config(data, training={}, evaluation={"coverage": None})
    folder = train(config, tmp_path / "runs", CONSOLE).folder
    (one,) = (one for one in predict(folder, [BLACK]) if isinstance(one, Prediction))
    (asked,) = (one for one in predict(folder, [BLACK], coverage=0.95) if isinstance(one, Prediction))

    assert (one.unknown, asked.unknown) == (None, True)
    assert one.confidence is not None


def test_thresholds_of_labels_follow_precision_and_costs(tmp_path: Path) -> None:
    """With several labels per image, the thresholds change; without options, they are those with the best F1 again."""
    random, lines = np.random.default_rng(0), ["image,red,striped,split"]
    for number in range(60):
        red, striped = number % 2, number // 2 % 2
        pixels = draw_image("stripes" if striped else "dots", number)
        pixels[..., 0] = pixels[..., 0] // 2 + (128 if red and random.random() < 0.9 else 0)
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.png")
        split = ("train", "validation", "test")[number // 4 % 3]
        lines.append(f"{number:02}.png,{red},{striped},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    labels = {"path": tmp_path / "labels.csv", "image": "image", "label": ("red", "striped")}
    settings = {"path": tmp_path, "image_size": 32, "labels": labels}
    config = tiny_config(tmp_path, data=settings, head={"activation": "sigmoid"}, training={})
    folder = train(config, tmp_path / "runs", CONSOLE).folder
    before = load_spec(folder.engine).thresholds
    found = calibrate(folder, precision=1.0)
    assert all(one.precision == 1.0 or one.min_confidence == 1.0 for one in found.classes)
    assert read_json(folder.metrics)["validation"]["top1"] == found.assessment.metrics.top1
    assert folder.read_facts()["metrics"]["validation"]["top1"] == found.assessment.metrics.top1
    assert evaluate(folder, CONSOLE, "test").metrics.top1 == read_json(folder.metrics)["test"]["top1"]
    found = calibrate(folder, precision=1.0, costs={"red": 9})
    calibration = Calibration.load(folder.engine, 2)

    assert calibration is not None
    at_temperature = load_spec(folder.engine).thresholds_at(calibration.temperature)
    assert at_temperature[0] >= 0.9 - 1e-9
    assert load_spec(folder.engine).thresholds == tuple(one.min_confidence for one in found.classes)
    calibrate(folder)
    assert load_spec(folder.engine).thresholds == before


@pytest.mark.parametrize("mode", ["from-scratch", "gradient"])
def test_trained_networks_are_calibrated(mode: str, data: Path, tmp_path: Path) -> None:
    """A network without frozen layers measures doubt by its scores; a gradient-trained head also by distances."""
    training = {"epochs": 1} if mode == "from-scratch" else {"epochs": 1, "solver": "gradient"}
    config = tiny_config(
        data, mode="from-scratch" if mode == "from-scratch" else "feature-extraction", training=training
    )
    folder = train(config, tmp_path / "runs", CONSOLE).folder
    calibration = Calibration.load(folder.engine, 2)

    assert calibration is not None
    assert (calibration.distance is None) == (mode == "from-scratch")
    found = evaluate(folder, CONSOLE, "validation")
    assert found.assessment is not None
    assert found.assessment.answers is not None
    assert found.assessment.answers.answered == 38
