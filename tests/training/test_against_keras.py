"""The steps of a stage equal those of plain Keras, with a frozen backbone and with its top unfrozen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.config.training_settings import BestConfig, StageConfig
from cnncli.networks.backend import import_keras
from tests.support import parity, plain_keras
from tests.support.parity import CASES, Bench, Case, Steps
from tests.training.contexts import train_in

TINY = CASES["MobileNet"]
SLOW = ("MobileNetV2", "VGG16", "DenseNet121", "Xception")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with drawn images and the weights of a small network with batch normalization."""
    folder = tmp_path_factory.mktemp("tiny")
    parity.write_case(TINY, folder)
    return folder


@pytest.fixture(scope="module")
def tiny_base(tiny: Path) -> Any:
    """Return the small network in plain Keras, for tests that do not train it."""
    return _base(TINY, tiny / "network.weights.h5")


def _bench(case: Case, folder: Path, engine: Any = "keras", weights: Path | None = None) -> Bench:
    return parity.set_up(case, weights or folder / "network.weights.h5", folder / "data", folder / "cache", engine)


def _base(case: Case, weights: Path) -> Any:
    return plain_keras.build_base(case.name, case.side, weights, **case.options)


def _check(steps: Steps) -> None:
    """Check that ten losses agree, and that training changed them."""
    assert len(steps.ours) == parity.STEPS
    assert steps.difference < 1e-4, steps
    assert steps.moved > 0.01


# --- Ten steps of SGD from the same head on the same batches, the last of each epoch smaller than the others. ---


@pytest.mark.parametrize("engine", [pytest.param("keras", marks=pytest.mark.slow), "openvino"])
def test_frozen_steps_lose_what_plain_keras_loses(engine: str, tiny: Path, tiny_base: Any) -> None:
    """A head trained on cached features has the losses of a Keras head trained on `base.predict`."""
    _check(parity.compare_frozen(_bench(TINY, tiny, engine), tiny_base, TINY))


def test_partly_frozen_steps_lose_what_plain_keras_loses(tiny: Path) -> None:
    """With the top unfrozen, a tail on cached features has the losses of the whole network in Keras."""
    _check(parity.compare_unfrozen(_bench(TINY, tiny), _base(TINY, tiny / "network.weights.h5"), TINY))


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Write the weights of a network once for all tests."""
    folders: dict[str, Path] = {}

    def write(case: Case) -> Path:
        if case.name not in folders:
            folders[case.name] = tmp_path_factory.mktemp(case.name)
            parity.write_case(case, folders[case.name])
        return folders[case.name]

    return write


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["keras", "openvino"])
@pytest.mark.parametrize("name", SLOW)
def test_steps_of_named_networks_lose_what_plain_keras_loses(name: str, engine: str, named: Any) -> None:
    """The losses equal Keras's for each network, frozen and then with the top unfrozen."""
    folder = named(CASES[name])
    for compare in (parity.compare_frozen, parity.compare_unfrozen):
        base = _base(CASES[name], folder / "network.weights.h5")
        _check(compare(_bench(CASES[name], folder, engine), base, CASES[name]))


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("engine", ["keras", "openvino"])
def test_steps_of_resnet50_with_real_weights_lose_what_plain_keras_loses(
    engine: str, shared: Path, tmp_path: Path
) -> None:
    """The losses equal Keras's with published weights, frozen and then with the top unfrozen."""
    case, weights = CASES["ResNet50"], shared / "weights" / "ResNet50_notop.weights.h5"
    parity.draw_images(tmp_path / "data", case.side)
    for compare in (parity.compare_frozen, parity.compare_unfrozen):
        _check(compare(_bench(case, tmp_path, engine, weights), _base(case, weights), case))


def test_training_from_scratch_takes_the_steps_of_plain_keras(tiny: Path) -> None:
    """With nothing frozen, ten losses and the moving statistics of batch normalization equal Keras's."""
    case = Case("ConvNet", 32, 0, 0.05, {"filters": [4, 8], "batch_norm": True})
    bench = parity.set_up(case, Path("none"), tiny / "data", tiny / "cache", "keras")
    keras, stage = import_keras(), parity.top_of(bench, "all")
    plain = keras.models.clone_model(bench.classifier.model)
    plain.set_weights(bench.classifier.model.get_weights())
    plain.compile(keras.optimizers.SGD(case.learning_rate), "sparse_categorical_crossentropy")

    ours = parity.step_losses(bench, stage)
    pixels, steps = bench.pixels.astype("float32"), bench.steps(stage.name)
    theirs = [plain.train_on_batch(pixels[rows], bench.labels[rows], return_dict=True)["loss"] for rows in steps]

    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    for found, expected in zip(bench.classifier.model.weights, plain.weights, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4, err_msg=found.path)


def test_a_stage_ends_with_the_weights_that_plain_keras_ends_with(tiny: Path, tiny_base: Any, tmp_path: Path) -> None:
    """After four epochs of three steps, the losses of each epoch and the final head equal Keras's."""
    bench = _bench(TINY, tiny)
    stage = replace(parity.head_of(bench), epochs=4, early_stopping=None)
    head, features = _plain_head(bench), plain_keras.pooled_features(TINY.name, tiny_base, bench.pixels)
    stages, last = (StageConfig.model_validate(vars(stage)),), BestConfig(monitor="loss")  # it falls in every epoch
    training = bench.context.config.training.model_copy(update={"stages": stages, "best": last})
    context = replace(bench.context, config=bench.context.config.model_copy(update={"training": training}))
    outcome = train_in(context, bench.classifier, tmp_path)

    for row in outcome.history:
        epoch = bench.epoch(stage.name, row.epoch)
        logs = [head.train_on_batch(features[batch], bench.labels[batch], return_dict=True) for batch in epoch]
        # As `fit` reports them: means over the images, not over the batches.
        sizes = [len(batch) for batch in epoch]
        assert sizes == [8, 8, 4]
        assert row.metrics["loss"] == pytest.approx(np.average([log["loss"] for log in logs], weights=sizes), rel=1e-4)
        assert row.metrics["accuracy"] == pytest.approx(np.average([log["accuracy"] for log in logs], weights=sizes))
    assert outcome.best.epoch == 4, "the weights compared below are those of the last epoch"
    for found, expected in zip(bench.head_weights, head.layers[-1].get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def _plain_head(bench: Bench) -> Any:
    """Return a softmax layer with the weights of a bench's head, compiled with SGD."""
    keras = import_keras()
    kernel, bias = bench.head_weights
    head = keras.Sequential([keras.Input(kernel.shape[:1]), keras.layers.Dense(len(bias), activation="softmax")])
    head.layers[-1].set_weights([kernel, bias])
    head.compile(keras.optimizers.SGD(TINY.learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return head
