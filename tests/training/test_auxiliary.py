"""Auxiliary classifiers count in the training objective, nowhere else, and resume exactly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.config.schema import Config
from cnncli.config.training_settings import OptimizerConfig
from cnncli.networks.architectures import convnet
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import Classifier, build_classifier, save_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.graph import output_of
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import RunWriter
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.steps import AUXILIARY_WEIGHT, TrainStep
from cnncli.training.trainer import Trainer
from tests.support.drawing import draw_dataset, tiny_config
from tests.training.contexts import context_for
from tests.training.test_resume import KilledAfter, KilledError

SGD = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9}
STAGES = [
    {"name": "first", "unfreeze": "all", "epochs": 1, "optimizer": SGD},
    {"name": "second", "unfreeze": "all", "epochs": 2, "optimizer": SGD},
]


def _add_auxiliary(model: Any, _options: Mapping[str, Any], units: int) -> list[Any]:
    layers = import_keras().layers
    x = layers.GlobalAveragePooling2D(name="auxiliary_pool")(output_of(model, "block1_pool"))
    return [layers.Dense(units, name="auxiliary_logits")(layers.Dropout(0.5, name="auxiliary_dropout")(x))]


@pytest.fixture(autouse=True)
def _convnet_with_auxiliary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give ConvNet an auxiliary classifier behind its first block."""
    monkeypatch.setattr(convnet, "build_auxiliary", _add_auxiliary, raising=False)


def _config(path: Path) -> Config:
    return tiny_config(path, mode="from-scratch", training={"batch_size": 8, "stages": STAGES})


def _classifier(path: Path = Path("unused")) -> Classifier:
    return build_classifier(_config(path), 2)


def test_objective_adds_a_fraction_of_the_loss_as_keras_does() -> None:
    """Row 10. A step equals Keras's with `loss_weights` of 1 and 0.3; the reported loss is that of the main output."""
    keras = import_keras()
    classifier = _classifier()
    (auxiliary,) = classifier.auxiliary
    next(layer for layer in classifier.auxiliary_layers if layer.name.endswith("dropout")).rate = 0.0
    tail = cut_classifier(classifier, "all").training_tail
    theirs = keras.models.clone_model(tail)
    theirs.set_weights(tail.get_weights())
    theirs.get_layer("auxiliary_dropout").rate = 0.0
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(keras.optimizers.SGD(0.05), loss=[loss, loss], loss_weights=[1.0, AUXILIARY_WEIGHT])
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (8, 32, 32, 3)).astype(np.float32), random.integers(0, 2, 8)
    plain = float(loss(labels, theirs([pixels], training=False)[0]))

    step = TrainStep(tail, build_optimizer(OptimizerConfig(name="sgd", learning_rate=0.05)), Objective("softmax", 2))
    totals = step.train_epoch([([pixels], labels)], iter([1.0]), "a step")
    theirs.train_on_batch([pixels], [labels, labels])

    assert totals.loss / 8 == pytest.approx(plain, rel=1e-5)
    for ours, expected in zip(tail.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert auxiliary.shape == (None, 2)


def test_classifier_is_saved_and_evaluated_without_them(tmp_path: Path) -> None:
    """Row 10. The saved model, the tail for prediction, and a tail with a frozen trunk have one output."""
    classifier = _classifier()
    save_classifier(classifier, tmp_path / "model.keras")
    names = [layer.name for layer in import_keras().saving.load_model(tmp_path / "model.keras").layers]
    cuts = [cut_classifier(classifier, unfreeze) for unfreeze in ("all", 1)]

    assert not [name for name in names if name.startswith("auxiliary")]
    assert [len(cut.tail.outputs) for cut in cuts] == [1, 1]
    assert [len(cut.training_tail.outputs) for cut in cuts] == [2, 1]
    assert [layer.name for layer in classifier.auxiliary_layers][-1] == "auxiliary_logits"


@pytest.mark.parametrize("saves", [2, 7])
def test_a_killed_training_resumes_exactly(saves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the first or the second stage, training ends with the same weights, also those of the auxiliary."""
    monkeypatch.setattr("cnncli.runs.records.CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr("cnncli.runs.records.MAX_CHECKPOINT_FRACTION", float("inf"))
    data = draw_dataset(tmp_path / "data")
    (tmp_path / "whole").mkdir()
    expected = _train(data, tmp_path, RunWriter(RunFolder(tmp_path / "whole")))
    with pytest.raises(KilledError):
        _train(data, tmp_path, KilledAfter(tmp_path / "killed", saves))
    resumed = _train(data, tmp_path, RunWriter(RunFolder(tmp_path / "killed")))

    assert all(np.array_equal(one, other) for one, other in zip(expected, resumed, strict=True))


def _train(data: Path, folder: Path, writer: RunWriter) -> list[Any]:
    classifier = _classifier(data)
    with writer:
        Trainer(classifier, context_for(_config(data), folder), writer).train()
    layers = [*classifier.model.layers, *classifier.auxiliary_layers]
    return [weight for layer in layers for weight in layer.get_weights()]
