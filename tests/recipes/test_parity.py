"""`evaluate`, `predict` and the saved model in bare Keras agree to 1e-5."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.features.extract import FeatureSet, extract
from cnncli.features.store import FeatureStore
from cnncli.images.decode import decode
from cnncli.inference.evaluate_rows import extraction_of
from cnncli.inference.prediction import Prediction
from cnncli.inference.predictor import Predictor, load_predictor
from cnncli.metrics.classification import plain_losses, probabilities_of
from cnncli.recipes.predict import predict
from cnncli.recipes.train import Run, train
from cnncli.terminal.console import Console
from tests.support import parity
from tests.support.drawing import draw_dataset, tiny_config

CONSOLE = Console(quiet=True)
FLOAT32 = 1e-5
THREE = ("stripes", "dots", "squares")
RESIDUAL = {
    "head": {"layers": ({"dense": 8}, {"dropout": 0.5})},
    "training": {
        "epochs": 1,
        "stages": [{"name": "head"}, {"name": "top", "unfreeze": "block_15_project"}],
        "best": {"monitor": "loss"},
    },
}
"""The last stage's cut lies inside a residual block, so that two tensors cross."""
RUNS: Mapping[str, Mapping[str, Any]] = {
    "residual": RESIDUAL,
    "grayscale": {"data": {"color": "grayscale"}, "head": {"activation": "sigmoid"}, "engine": "keras"},
    "oblong": {
        "data": {"image_size": (32, 40), "fit": "crop"},
        "head": {"activation": "linear"},
        "training": {"epochs": 1, "stages": [{"name": "head"}, {"name": "top", "unfreeze": 1}]},
    },
}
TIERS = {"default": ("oblong",), "slow": ("grayscale", "residual")}
NAMES = [*TIERS["default"], *(pytest.param(name, marks=pytest.mark.slow) for name in TIERS["slow"])]
BARE_KERAS = """
import json, sys
import keras, numpy as np
for model, pixels, scores in json.load(sys.stdin):
    loaded = keras.saving.load_model(model, safe_mode=True)
    np.save(scores, loaded.predict(np.load(pixels), verbose=0))
assert "cnncli" not in sys.modules
"""


@dataclass(frozen=True)
class Found:
    """A run's test images, and the output of its saved model for them in a process without cnncli."""

    run: Run
    predictor: Predictor
    rows: tuple[ImageRecord, ...]
    bare: NDArray[np.float64]

    @property
    def paths(self) -> list[Path]:
        """Paths of the images, in the order of the rows."""
        return [row.path for row in self.rows]


@pytest.fixture(scope="module")
def find(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Found]:
    """Return a function that trains a run, along with all others of its tier."""
    done: dict[str, Found] = {}

    def find(name: str) -> Found:
        if name not in done:
            names = next(names for names in TIERS.values() if name in names)
            done.update(_find(names, tmp_path_factory.mktemp("parity")))
        return done[name]

    return find


def _find(names: Sequence[str], folder: Path) -> Mapping[str, Found]:
    """Train runs, and predict with all of them in one bare Keras process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        runs = {name: _train(name, folder) for name in names}
    work = []
    for name, run in runs.items():
        predictor, files = load_predictor(run.folder.engine, run.folder.model), _files(folder, name)
        rows = Manifest.from_csv(run.folder.manifest).split("test")
        np.save(files[0], np.stack([decode(row.path, predictor.spec.pixels) for row in rows]))
        work.append([str(run.folder.model), *map(str, files)])
    subprocess.run([sys.executable, "-c", BARE_KERAS], input=json.dumps(work), text=True, check=True, cwd=folder)
    return {name: _found(run, np.load(_files(folder, name)[1])) for name, run in runs.items()}


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.pixels.npy", folder / f"{name}.scores.npy"


def _train(name: str, folder: Path) -> Run:
    classes = THREE if name == "oblong" else THREE[:2]
    data = draw_dataset(folder / "data" / name, 8, 4, 5, size=48, classes=classes)
    settings = {"training": {"epochs": 1}, **RUNS[name]}
    if name == "residual":
        case = parity.CASES["MobileNetV2"]
        weights = parity.write_case(case, folder)[".weights.h5"]
        settings["backbone"] = {"name": case.name, "weights": str(weights), "options": dict(case.options)}
    settings["data"] = {"path": data, "image_size": 32, **settings.get("data", {})}
    return train(tiny_config(data, **settings), folder / "runs", CONSOLE)


def _found(run: Run, scores: NDArray[np.float32]) -> Found:
    """Return a run with the class probabilities that bare Keras computed."""
    predictor = load_predictor(run.folder.engine, run.folder.model)
    bare = scores.astype(np.float64)
    if predictor.spec.activation == "linear":
        bare = np.exp(bare) / np.exp(bare).sum(axis=1, keepdims=True)
    if bare.shape[1] == 1:
        bare = np.hstack([1 - bare, bare])
    return Found(run, predictor, Manifest.from_csv(run.folder.manifest).split("test"), bare)


def _predicted(found: Found, paths: list[Path]) -> NDArray[np.float64]:
    """Return the probabilities of `predict` in the order of the run's classes."""
    classes = found.predictor.spec.classes
    predictions = list(predict(found.run.folder, paths, top=len(classes)))
    assert all(isinstance(prediction, Prediction) for prediction in predictions)
    named = [dict(zip(one.labels, one.probabilities, strict=True)) for one in predictions]  # type: ignore[union-attr]
    return np.array([[one[label] for label in classes] for one in named])


@pytest.mark.parametrize("name", NAMES)
def test_bare_keras_gives_the_probabilities_of_predict(name: str, find: Callable[[str], Found]) -> None:
    """`model.keras` in a new process gives the same probabilities for the decoder's pixels."""
    one = find(name)
    assert np.ptp(one.bare, axis=0).max() > 1e-3, "images that look alike would prove nothing"
    np.testing.assert_allclose(_predicted(one, one.paths), one.bare, atol=FLOAT32)


@pytest.mark.parametrize("name", NAMES)
def test_one_image_gets_what_it_gets_among_many(name: str, find: Callable[[str], Found]) -> None:
    """An image gets the same probabilities whether it is predicted alone or in a batch."""
    one = find(name)
    np.testing.assert_allclose(_predicted(one, one.paths[-1:]), _predicted(one, one.paths)[-1:], atol=FLOAT32)


@pytest.mark.parametrize("name", NAMES)
def test_evaluate_scores_stored_features_as_predict_scores_images(
    name: str, find: Callable[[str], Found], tmp_path: Path
) -> None:
    """`evaluate` gives each image's probabilities, and the loss that the run reported for its test split."""
    one = find(name)
    spec, store = one.predictor.spec, FeatureStore(tmp_path)
    (features,), _ = extract(FeatureSet(extraction_of(one.predictor), one.rows), store, CONSOLE)
    logits = one.predictor.logits(features.rows(np.arange(len(one.rows))))
    np.testing.assert_allclose(probabilities_of(logits, spec.activation), _predicted(one, one.paths), atol=FLOAT32)

    labels = np.array([spec.classes.index(row.label) for row in one.rows])
    reported = one.run.metrics["test"]
    assert reported.loss == pytest.approx(plain_losses(logits, labels, spec.activation).mean(), abs=FLOAT32)
    assert reported.top1 == np.mean(one.bare.argmax(axis=1) == labels)


@pytest.mark.slow
def test_a_cut_inside_a_block_was_among_them(find: Callable[[str], Found]) -> None:
    """In one of the runs, two tensors crossed the cut."""
    stages = json.loads(find("residual").run.folder.stages.read_text())
    assert len(stages[-1]["crossing"]) == 2
    assert stages[-1]["trained_layers"][0] == "block_15_project"
