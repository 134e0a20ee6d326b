"""The decision for or against 8-bit integers: by images that did not calibrate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnncli.dataset.build import build_manifest
from cnncli.dataset.manifest import Manifest
from cnncli.engines.build import build_engine
from cnncli.engines.engine import Engine, EngineChoice
from cnncli.images.decode import PixelSpec
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.fingerprint import fingerprint
from cnncli.terminal.console import Console
from cnncli.training.int8 import FeatureAgreement, QuantizedTrunk, measure_agreement, quantized_trunk
from tests.support import plain_keras
from tests.support.drawing import draw_dataset, tiny_config
from tests.support.logged import codes_in

N_TRAIN = 24
"""Training images of each of two classes."""
PIXELS = PixelSpec(32, 32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), N_TRAIN, 2, 2)


@pytest.fixture(scope="module")
def manifest(data: Path) -> Manifest:
    """Index the images."""
    return build_manifest(tiny_config(data).data, 0)


@dataclass(frozen=True)
class Trunk:
    """A trunk with its engine in float32."""

    name: str
    engine: Engine
    graph: Path

    def quantize(self, manifest: Manifest, graphs: Path) -> QuantizedTrunk | None:
        """Quantize it, or find it in a directory of graphs."""
        return quantized_trunk(self.name, self.engine, self.graph, manifest, PIXELS, graphs, Console(quiet=True))


def _trunk(folder: Path, stretch: float = 1.0) -> Trunk:
    """Build a trunk of two convolutions, in which channels of the first are multiplied by up to `stretch`.

    The second divides by the same factors, so that its outputs stay the same.
    """
    config = tiny_config(
        Path("unused"), backbone={"name": "ConvNet", "weights": "none", "options": {"filters": [16, 16]}}
    )
    classifier = build_classifier(config, 2)
    plain_keras.vary(classifier.model, 1)
    first, second = (layer for layer in classifier.model.layers if type(layer).__name__ == "Conv2D")
    factors = np.geomspace(1.0, stretch, 16, dtype=np.float32)
    (kernel, bias), (next_kernel, next_bias) = first.get_weights(), second.get_weights()
    first.set_weights([kernel * factors, bias * factors])
    second.set_weights([next_kernel / factors[:, None], next_bias])
    trunk = cut_classifier(classifier, 0).trunk
    assert trunk is not None
    engine, graph = build_engine(trunk, fingerprint(trunk), EngineChoice("openvino", "float32"), folder)
    assert graph is not None
    return Trunk(fingerprint(trunk), engine, graph)


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Trunk:
    """Build a trunk that can be quantized."""
    return _trunk(tmp_path_factory.mktemp("trunk"))


@pytest.fixture(scope="module")
def made(trunk: Trunk, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> QuantizedTrunk:
    """Quantize the trunk in an empty cache."""
    found = trunk.quantize(manifest, tmp_path_factory.mktemp("graphs"))
    assert found is not None
    return found


def test_calibration_and_agreement_use_different_training_images(made: QuantizedTrunk, manifest: Manifest) -> None:
    """Half of a few training images calibrate, and the agreement is measured on the others."""
    train = {row.digest for row in manifest.split("train")}

    assert set(made.calibration) < train
    assert (len(made.calibration), made.agreement.n_images) == (N_TRAIN, N_TRAIN)
    assert made.is_used
    assert made.graph.is_file()


def test_a_trunk_is_quantized_once(made: QuantizedTrunk, trunk: Trunk, manifest: Manifest) -> None:
    """The quantized trunk of the cache is used again, file by file."""
    before = {path.name: path.stat().st_ino for path in made.folder.iterdir()}

    assert trunk.quantize(manifest, made.folder.parent) == made
    assert {path.name: path.stat().st_ino for path in made.folder.iterdir()} == before


def test_more_images_keep_the_quantized_trunk(trunk: Trunk, manifest: Manifest, tmp_path: Path) -> None:
    """If a dataset grows, but does not double, the first calibration stays, so that present features stay valid."""
    first = trunk.quantize(replace(manifest, rows=manifest.split("train")[::-1][:34]), tmp_path)

    assert first is not None
    assert trunk.quantize(manifest, tmp_path) == first


def test_other_images_calibrate_again(made: QuantizedTrunk, trunk: Trunk, tmp_path: Path) -> None:
    """A dataset that shares less than half of the calibration images gets a quantized trunk of its own."""
    other = build_manifest(tiny_config(draw_dataset(tmp_path, N_TRAIN, 2, 2, size=40)).data, 0)
    found = trunk.quantize(other, made.folder.parent)

    assert found is not None
    assert set(found.calibration).isdisjoint(made.calibration)


def test_a_damaged_quantized_trunk_is_made_again(made: QuantizedTrunk, trunk: Trunk, manifest: Manifest) -> None:
    """A changed byte in the graph is noticed, and the graph written again as it was."""
    weights = made.graph.with_suffix(".bin")
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    assert trunk.quantize(manifest, made.folder.parent) == made
    assert weights.read_bytes() == data


def test_a_trunk_that_int8_breaks_is_not_used(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If ranges of channels differ by 10^6, one range for all loses most of them: a warning, and no graph is kept."""
    trunk = _trunk(tmp_path / "trunk", stretch=1e6)
    found = trunk.quantize(manifest, tmp_path / "graphs")

    assert found is not None
    assert "engine-int8-disagrees" in codes_in(caplog)
    assert (found.is_used, found.correction, found.graph.exists()) == (False, "full", False)
    caplog.clear()
    assert trunk.quantize(manifest, tmp_path / "graphs") == found
    assert codes_in(caplog) == ["engine-int8-disagrees"]


def test_few_images_cannot_judge(
    trunk: Trunk, manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With fewer than 32 training images, int8 is not tried."""
    few = replace(manifest, rows=manifest.split("train")[:31])

    assert trunk.quantize(few, tmp_path) is None
    assert codes_in(caplog) == ["engine-int8-too-few-images"]


def test_images_of_other_splits_do_not_calibrate(made: QuantizedTrunk, trunk: Trunk, manifest: Manifest) -> None:
    """If an image that calibrated, or judged, is a test image of a run, the run gets a quantized trunk of its own."""
    for digest in (made.calibration[0], made.held_out[0]):
        rows = tuple(replace(row, split="test") if row.digest == digest else row for row in manifest.rows)
        found = trunk.quantize(replace(manifest, rows=rows), made.folder.parent)

        assert found is not None
        assert digest not in (*found.calibration, *found.held_out)


@pytest.fixture(params=["classes", "labels"])
def labels(request: pytest.FixtureRequest) -> NDArray[Any]:
    """Return the largest of the first three features of each image as its class, or all that are positive."""
    first = _features()[:, :3]
    return first.argmax(axis=1) if request.param == "classes" else (first > 0).astype(np.uint8)


def _features() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(64, 8)).astype(np.float32)


def _noise(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return noise of the same size as the features."""
    noise = np.random.default_rng(2).normal(size=features.shape)
    return np.float32(noise * np.linalg.norm(features - features.mean(axis=0)) / np.linalg.norm(noise))


def test_equal_features_agree_completely(labels: NDArray[Any]) -> None:
    """Without a difference, the error is 0 and the agreement 1."""
    assert measure_agreement(_features(), _features(), labels, 3) == FeatureAgreement(64, 0.0, 1.0)


def test_more_noise_agrees_less(labels: NDArray[Any]) -> None:
    """The error is that of the noise relative to the features, and the agreement falls with it."""
    features = _features()
    found = [measure_agreement(features, features + size * _noise(features), labels, 3) for size in (0.05, 0.3, 1.0)]

    assert [one.feature_error for one in found] == pytest.approx([0.05, 0.3, 1.0])
    assert found[0].agreement > found[1].agreement > found[2].agreement
    assert [one.is_sufficient for one in found][::2] == [True, False]


def test_many_classes_do_not_hide_differences() -> None:
    """A head on few images of many classes is unsure of everything, but noise as large as features agrees little."""
    features, classes = _features(), np.arange(64) % 37

    assert measure_agreement(features, features + _noise(features), classes, 37).agreement < 0.5


def test_features_that_are_not_finite_do_not_agree(labels: NDArray[Any]) -> None:
    """NaN in the features of a quantized trunk is no agreement, and leaves numbers in the record."""
    broken = _features()
    broken[0, 0] = np.nan

    assert measure_agreement(_features(), broken, labels, 3) == FeatureAgreement(64, 1.0, 0.0)
