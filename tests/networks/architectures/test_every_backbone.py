"""Every network of the catalogue equals plain Keras's, is flat, can be cut anywhere, and is loaded by bare Keras."""

from __future__ import annotations

import gc
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnncli.catalogue.networks import NETWORKS, NetworkInfo
from cnncli.config.schema import Config
from cnncli.engines.keras import KerasEngine
from cnncli.engines.openvino import OpenVinoEngine, convert_graph
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import Classifier, build_classifier, load_classifier, save_classifier
from cnncli.networks.cut import Cut, countable_layers, cut_classifier
from cnncli.networks.fingerprint import fingerprint
from cnncli.networks.graph import crossing_tensors, output_of
from cnncli.networks.head import LOGITS
from tests.support import plain_keras
from tests.support.parity import relative

QUICK = {"ConvNet", "EfficientNetLite0"}
"""Small networks, one with residual blocks. All others are left to the slow tier."""
CONVERTED = {"ConvNet"}
"""For tests that convert or save a network."""
SMALL = 100_000
"""Networks with fewer parameters are in the default tier of every test."""
SLOW = [pytest.mark.slow, pytest.mark.timeout(1800)]
IMAGES = 3
FLOAT32 = 1e-5
"""Largest difference relative to the largest value."""
ENGINES = 1e-3
CHAOTIC = {"EfficientNetV2L"}
"""Networks whose random weights amplify rounding: a change of the pixels by 1e-7 changes features near the top by 98 %.
Engines can agree on their lower layers only."""


@dataclass(frozen=True)
class Network:
    """A network as a classifier, with the random weights of plain Keras, treated as if it were pretrained."""

    info: NetworkInfo
    classifier: Classifier
    pixels: NDArray[np.float32]
    plain: NDArray[np.float32] | None
    """Pooled features of the same network in plain Keras, from raw pixels; None where Keras does not have it."""

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """Logits of the uncut graph."""
        return self.output(LOGITS)

    def output(self, layer: str) -> NDArray[np.float32]:
        """Return the output of a layer of the uncut graph."""
        model = self.classifier.model
        part = import_keras().Model(model.inputs, output_of(model, layer))
        result: NDArray[np.float32] = part([self.pixels], training=False).numpy()
        return result

    @cached_property
    def cuts(self) -> dict[str, str]:
        """Return a low, a middle and a high layer to cut at; most tensors cross at the high one."""
        names = [layer.name for layer in countable_layers(self.classifier)]
        operations = [operation.name for operation in self.classifier.model.operations]
        upper = names[len(names) * 11 // 20 :]
        crossing = {n: len(crossing_tensors(self.classifier.model, operations.index(n))) for n in upper}
        inside = max(upper, key=lambda name: crossing[name])
        return {"low": names[len(names) // 8], "middle": names[len(names) // 2], "inside": inside}


def _build(name: str) -> Network:
    info, keras = NETWORKS[name], import_keras()
    side = max(info.min_size, 64 if name == "ConvNet" else 32)
    config = Config.model_validate(
        {"data": {"path": "unused", "image_size": side}, "backbone": {"name": name, "weights": "none"}}
    )
    pixels = _images(side)
    classifier = Classifier(build_classifier(config, 3).model, pretrained=True)
    ours = [layer for layer in classifier.backbone_layers if getattr(layer, "weights", None)]
    if info.module != "keras_applications":
        plain_keras.vary(classifier.model, 1)
        return Network(info, classifier, pixels, None)
    keras.utils.set_random_seed(0)
    base = plain_keras.vary(plain_keras.build_base(name, side), 1)
    for layer, theirs in zip(ours, plain_keras.weighted_layers(base), strict=True):
        layer.set_weights(theirs.get_weights())
    maps = base(plain_keras.preprocess(name, pixels), training=False).numpy()
    return Network(info, classifier, pixels, maps.mean(axis=(1, 2)))


def _images(side: int) -> NDArray[np.float32]:
    """Return smooth images of whole numbers in 0–255."""
    coarse = np.random.default_rng(0).integers(0, 256, (IMAGES, 4, 4, 3), dtype=np.uint8)
    smooth = [Image.fromarray(colors).resize((side, side), Image.Resampling.BICUBIC) for colors in coarse]
    return np.stack([np.asarray(image, np.float32) for image in smooth])


def _tiers(quick: set[str]) -> pytest.MarkDecorator:
    """Parametrize a test with every network; networks that take long are marked slow."""
    names = sorted(NETWORKS, key=lambda name: NETWORKS[name].notop_parameters)
    small = {info.name for info in NETWORKS.values() if info.notop_parameters < SMALL}
    parameters = [pytest.param(name, marks=[] if name in quick | small else SLOW) for name in names]
    return pytest.mark.parametrize("network", parameters, indirect=True, scope="module")


@pytest.fixture(scope="module")
def network(request: pytest.FixtureRequest) -> Network:
    """Yield one network at a time, because the largest take gigabytes."""
    import_keras().backend.clear_session()
    gc.collect()
    return _build(request.param)


@_tiers(QUICK)
def test_features_of_raw_pixels_are_plain_keras_features(network: Network) -> None:
    """Features of raw pixels equal those of the `keras.applications` model after its `preprocess_input`."""
    features = network.output("head_avg_pool")

    assert features.std(axis=0).max() > 0.01 * np.abs(features).max(), "images that look alike would prove nothing"
    if network.plain is not None:
        assert relative(features, network.plain) < FLOAT32


@_tiers(QUICK)
def test_a_classifier_is_one_flat_graph(network: Network) -> None:
    """A classifier contains no nested model, takes raw pixels, and all of its layer names are unique."""
    model = network.classifier.model
    names = [operation.name for operation in model.operations]

    assert not [layer.name for layer in model.layers if hasattr(layer, "layers")]
    assert len(set(names)) == len(names)
    assert model.input_shape == (None, *network.pixels.shape[1:])


def _features(cut: Cut, pixels: NDArray[np.float32]) -> list[Any]:
    """Return the tensors that cross a cut."""
    if cut.trunk is None:
        return [pixels]
    features = cut.trunk([pixels], training=False)
    return list(features) if isinstance(features, list | tuple) else [features]


@_tiers(QUICK)
def test_trunk_and_tail_give_what_the_uncut_graph_gives(network: Network) -> None:
    """Trunk and tail give the logits of the uncut graph: frozen, cut at three places, and fully trainable."""
    cuts: list[int | str] = [0, *network.cuts.values(), "all"]
    for unfreeze in cuts:
        cut = cut_classifier(network.classifier, unfreeze)
        features = _features(cut, network.pixels)
        assert [tuple(tensor.shape[1:]) for tensor in features] == [shape for _, shape in cut.crossing]
        assert relative(cut.tail(features, training=False), network.logits) < FLOAT32, (unfreeze, cut.crossing)
    assert cut.trunk is None, "the last one froze nothing"


@_tiers(QUICK)
def test_a_cut_trains_what_lies_above_it_but_batch_norm(network: Network) -> None:
    """The named layer and all layers after it are trained, except batch normalization; nothing below it is."""
    operations = network.classifier.model.operations
    for name in network.cuts.values():
        cut = cut_classifier(network.classifier, name)
        above = operations[[operation.name for operation in operations].index(name) :]
        weighted = [one for one in above if getattr(one, "weights", None)]
        expected = [one.name for one in weighted if type(one).__name__ != "BatchNormalization"]
        assert [n for n in cut.trained if n in expected] == expected
        assert {id(weight) for weight in cut.tail.trainable_weights} == {
            id(weight) for one in weighted if one.name in expected for weight in one.trainable_weights
        }


@_tiers(QUICK)
def test_gradients_of_a_tail_are_those_of_the_uncut_graph(network: Network) -> None:
    """With a cut inside a block, each trained weight has the same gradient as in the uncut graph."""
    import tensorflow as tf

    cut = cut_classifier(network.classifier, network.cuts["inside"])
    model = network.classifier.model
    whole = import_keras().Model(model.inputs, output_of(model, LOGITS))
    gradients = []
    for graph, inputs in ((whole, [network.pixels]), (cut.tail, _features(cut, network.pixels))):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(graph(inputs, training=False)[:, 0])
        gradients.append(tape.gradient(loss, cut.tail.trainable_variables))

    for of_whole, of_tail in zip(*gradients, strict=True):
        np.testing.assert_allclose(of_tail, of_whole, atol=FLOAT32 * np.abs(of_whole).max())


@_tiers(CONVERTED)
def test_engines_agree_on_trunk_and_tail(network: Network, tmp_path: Path) -> None:
    """OpenVINO and Keras agree on trunk and tail, cut where most tensors cross."""
    is_chaotic = network.info.name in CHAOTIC
    cut = cut_classifier(network.classifier, network.cuts["low" if is_chaotic else "inside"])
    assert cut.trunk is not None
    pixels = network.pixels.astype(np.uint8)
    expected = KerasEngine(cut.trunk, "float32", IMAGES).run([pixels])
    convert_graph(cut.trunk, tmp_path / "trunk.xml", pixels=True)
    convert_graph(cut.tail, tmp_path / "tail.xml", pixels=False)
    found = OpenVinoEngine(tmp_path / "trunk.xml", "float32", IMAGES).run([pixels])

    for ours, theirs in zip(found, expected, strict=True):
        assert relative(ours, theirs) < ENGINES
    (logits,) = OpenVinoEngine(tmp_path / "tail.xml", "float32", IMAGES).run(expected)
    assert logits.shape == network.logits.shape
    assert is_chaotic or relative(logits, network.logits) < ENGINES


@_tiers(CONVERTED)
def test_a_saved_classifier_is_cut_in_the_same_place(network: Network, tmp_path: Path) -> None:
    """Saving and loading keep the order and names of the layers, and thus the fingerprint in the cache."""
    save_classifier(network.classifier, tmp_path / "model.keras")
    again = load_classifier(tmp_path / "model.keras", pretrained=True)
    names = [[operation.name for operation in one.model.operations] for one in (network.classifier, again)]
    assert names[0] == names[1]

    for unfreeze in (0, network.cuts["inside"]):
        before, after = cut_classifier(network.classifier, unfreeze), cut_classifier(again, unfreeze)
        assert (before.at, before.crossing, before.trained) == (after.at, after.crossing, after.trained)
        assert before.trunk is not None
        assert after.trunk is not None
        assert fingerprint(before.trunk) == fingerprint(after.trunk)


BARE_KERAS = """
import sys
import keras, numpy as np
model, pixels, scores = sys.argv[1:]
loaded = keras.saving.load_model(model, safe_mode=True)
np.save(scores, loaded(np.load(pixels), training=False))
assert "cnncli" not in sys.modules
"""


@pytest.mark.slow
@_tiers(set())
def test_bare_keras_loads_what_was_saved(network: Network, tmp_path: Path) -> None:
    """Without cnncli, Keras loads the model in safe mode and gives the same scores for raw pixels."""
    model, pixels, scores = (tmp_path / name for name in ("model.keras", "pixels.npy", "scores.npy"))
    save_classifier(network.classifier, model)
    np.save(pixels, network.pixels)
    subprocess.run([sys.executable, "-c", BARE_KERAS, model, pixels, scores], check=True, cwd=tmp_path)

    assert relative(np.load(scores), network.classifier.model(network.pixels, training=False)) < FLOAT32
