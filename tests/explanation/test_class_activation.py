"""Class activation maps of the engine are those of the layers in Keras, and average to the scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.explanation.class_activation import class_activation_of
from cnncli.images.decode import decode
from cnncli.inference.predictor import load_predictor
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import load_classifier
from cnncli.networks.graph import inputs_of, output_of
from cnncli.networks.head import LOGITS
from cnncli.recipes.train import Run, train
from cnncli.terminal.console import Console
from tests.support.drawing import draw_dataset, tiny_config


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 8, 4, 4)


def _train(data: Path, folder: Path, **changes: Any) -> Run:
    return train(tiny_config(data, **changes), folder, Console(quiet=True))


def _pixels(run: Run, data: Path) -> np.ndarray:
    spec = load_predictor(run.folder.engine, run.folder.model).spec
    return np.stack([decode(path, spec.pixels) for path in sorted((data / "test").rglob("*.png"))])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"training": {}}, id="solved: NumPy runs the layer"),
        pytest.param({"training": {"epochs": 1}}, id="trained: OpenVINO runs the layer"),
        pytest.param({"training": {"epochs": 1}, "mode": "from-scratch"}, id="nothing frozen: one graph"),
        pytest.param({"training": {"epochs": 1}, "head": {"activation": "sigmoid"}}, id="one unit for two classes"),
        pytest.param({"training": {"epochs": 1}, "head": {"layers": [{"dropout": 0.5}]}}, id="with dropout"),
    ],
)
def test_maps_are_the_linear_layer_at_each_place(data: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """The maps equal those of the layers in Keras, and their averages, with the bias, are the scores."""
    run = _train(data, tmp_path, **changes)
    predictor, pixels = load_predictor(run.folder.engine, run.folder.model), _pixels(run, data)
    activation = class_activation_of(run.folder, predictor)
    assert activation is not None
    maps = np.stack([activation.maps(one) for one in pixels])

    model = load_classifier(run.folder.model, predictor.spec.pretrained).model
    (pooled,) = inputs_of(model, "head_avg_pool")
    kernel, bias = (np.asarray(weights) for weights in model.get_layer(LOGITS).weights)
    features = np.asarray(import_keras().Model(model.inputs, pooled)([pixels.astype(np.float32)]))
    wanted = np.moveaxis(features @ kernel, -1, 1)
    logits = np.asarray(import_keras().Model(model.inputs, output_of(model, LOGITS))([pixels.astype(np.float32)]))
    if wanted.shape[1] == 1:
        wanted, logits, bias = np.hstack([-wanted, wanted]), np.hstack([-logits, logits]), np.array([-bias[0], bias[0]])

    np.testing.assert_allclose(maps, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    np.testing.assert_allclose(maps.mean(axis=(2, 3)) + bias, logits, rtol=1e-4, atol=1e-4 * np.abs(logits).max())


@pytest.mark.parametrize(
    "changes",
    [
        {"head": {"pooling": "max"}},
        {"head": {"pooling": "flatten"}},
        {"head": {"layers": [{"dense": 4, "activation": "relu"}]}},
        {"head": {"layers": [{"dense": 4, "activation": "linear"}]}},
        {"engine": "keras"},
        {"evaluation": {"tta": "flip"}},
    ],
    ids=str,
)
def test_other_heads_have_no_maps(data: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """There are no maps with another pooling, more layers, Keras as the engine, or averages over flipped images."""
    run = _train(data, tmp_path, **{"training": {"epochs": 1}, **changes})

    assert class_activation_of(run.folder, load_predictor(run.folder.engine, run.folder.model)) is None
