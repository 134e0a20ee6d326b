"""Runs whose frozen layers compute in 8-bit integers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnncli.config.schema import Config
from cnncli.config.writer import dump_config
from cnncli.features.extract import Counts
from cnncli.inference.prediction import Prediction
from cnncli.inference.predictor import load_predictor
from cnncli.inference.spec import PredictorSpec
from cnncli.recipes.evaluate import evaluate
from cnncli.recipes.predict import predict
from cnncli.recipes.train import Run, train
from cnncli.terminal.console import Console
from cnncli.training.int8 import MIN_AGREEMENT
from tests.support.drawing import draw_dataset, draw_image, tiny_config

CONSOLE = Console(quiet=True)
WARM = """
import sys
from pathlib import Path
from cnncli.config.reader import load_resolved
from cnncli.recipes.train import train
from cnncli.terminal.console import Console

train(load_resolved(sys.argv[1]), Path(sys.argv[2]), Console(quiet=True))
print(*sorted(name for name in ("tensorflow", "keras", "nncf", "scipy", "sklearn") if name in sys.modules))
"""
FINE_TUNING = {"stages": [{"name": "head", "epochs": 2}, {"name": "top", "unfreeze": 1, "epochs": 2}]}


pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 24, 8, 8)


def _config(data: Path, **changes: Any) -> Config:
    backbone = {"name": "ConvNet", "weights": "none", "options": {"filters": [8, 16]}}
    return tiny_config(data, **{"backbone": backbone, "training": {}, "precision": "int8", **changes})


@pytest.fixture(scope="module")
def cold(data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train the first run, which quantizes the frozen layers and fills the cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        return train(_config(data), tmp_path_factory.mktemp("runs"), CONSOLE)


@pytest.fixture(scope="module")
def fine_tuned(data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Fine-tune a convolution on features in int8."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        return train(_config(data, training=FINE_TUNING), tmp_path_factory.mktemp("runs"), CONSOLE)


def test_each_of_several_networks_is_quantized(data: Path, cold: Run, tmp_path: Path) -> None:
    """A run with two networks uses the quantized features of a run with one, and quantizes the other."""
    other = {"name": "ConvNet", "weights": "none", "options": {"filters": [8]}}
    run = train(_config(data, backbone=[_config(data).backbone.model_dump(), other]), tmp_path, CONSOLE)
    n_images = 2 * (24 + 8 + 8)

    assert run.features == Counts(n_images, n_images)
    assert [one["used"] for one in run.folder.read_facts()["int8"]] == [True, True]
    assert load_predictor(run.folder.engine, run.folder.model).spec.precisions == ("int8", "int8")
    assert evaluate(run.folder, CONSOLE).metrics.summary() == run.metrics["test"].summary()


def test_the_run_records_what_was_measured(cold: Run) -> None:
    """run.json contains the precision, and how far features in int8 agree with those that they replace."""
    facts = cold.folder.read_facts()

    assert (facts["precision"], facts["int8"]["used"], facts["int8"]["n_images"]) == ("int8", True, 24)
    assert 0 < facts["int8"]["feature_error"] < 0.3
    assert MIN_AGREEMENT <= facts["int8"]["agreement"] <= 1


def test_a_warm_run_computes_nothing(data: Path, cold: Run, tmp_path: Path) -> None:
    """A second run uses the quantized trunk and its features from the cache, without NNCF and TensorFlow."""
    (tmp_path / "config.yaml").write_text(dump_config(_config(data, head={"l2": 0.1})))
    words = [sys.executable, "-c", WARM, str(tmp_path / "config.yaml"), str(tmp_path / "runs")]
    result = subprocess.run(words, check=False, capture_output=True, text=True)
    warm = train(_config(data), tmp_path / "more", CONSOLE)

    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr
    assert warm.features.computed == 0
    assert warm.metrics["test"].summary() == cold.metrics["test"].summary()


def test_ten_more_images_compute_ten(cold: Run, data: Path, tmp_path: Path) -> None:
    """A dataset that grows is not calibrated again, so that only the features of new images are computed."""
    copied = Path(shutil.copytree(data, tmp_path / "data"))
    for seed in range(10):
        Image.fromarray(draw_image("dots", 1000 + seed)).save(copied / "train" / "dots" / f"new-{seed}.png")

    assert train(_config(copied), tmp_path / "runs", CONSOLE).features.computed == 10


@pytest.mark.parametrize("kind", ["cold", "fine_tuned"])
def test_evaluation_and_prediction_agree(kind: str, data: Path, request: pytest.FixtureRequest) -> None:
    """The metrics of training, of `evaluate` and of `predict` come from the same graphs."""
    run: Run = request.getfixturevalue(kind)
    images = sorted((data / "test").rglob("*.png"))
    predicted = [one for one in predict(run.folder, [str(path) for path in images]) if isinstance(one, Prediction)]
    correct = [one.labels[0] == path.parent.name for one, path in zip(predicted, images, strict=True)]

    assert evaluate(run.folder, CONSOLE).metrics.summary() == run.metrics["test"].summary()
    assert np.mean(correct) == run.metrics["test"].values["accuracy"]


def test_a_fine_tuned_network_predicts_in_int8(fine_tuned: Run) -> None:
    """The trained convolutions are quantized as well, and the layer of the logits stays in float32."""
    spec = PredictorSpec.load(fine_tuned.folder.engine)

    assert (spec.precision, spec.tail_precision) == ("int8", "int8")
    assert (fine_tuned.folder.engine / "logits.xml").is_file()
    assert not list(fine_tuned.folder.engine.glob("*-int8*"))


@pytest.mark.parametrize(("installed", "expected"), [(True, "int8"), (False, "float32")])
def test_auto_uses_int8_where_it_saves_time(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, expected: str
) -> None:
    """With many multiply-adds, `auto` quantizes if NNCF is installed."""
    monkeypatch.setattr("cnncli.training.context.MIN_MULTIPLY_ADDS", 0)
    monkeypatch.setattr("cnncli.training.context.has_fast_int8", lambda: True)
    monkeypatch.setattr("cnncli.training.context.is_installed", lambda: installed)
    monkeypatch.setattr("cnncli.engines.build.has_bfloat16", lambda: False)
    run = train(_config(data, precision="auto"), tmp_path, CONSOLE)

    assert run.folder.read_facts()["precision"] == expected


def test_auto_does_not_quantize_for_few_images(data: Path, tmp_path: Path) -> None:
    """For 80 images of 32 pixels, quantizing would take longer than it saves."""
    assert "int8" not in train(_config(data, precision="auto"), tmp_path, CONSOLE).folder.read_facts()
