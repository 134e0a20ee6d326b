"""A classifier built from a weights file gives the features and logits of plain Keras on both engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.config.schema import Config
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import build_classifier
from tests.support import parity, plain_keras
from tests.support.parity import CASES, Case

FORMS = (".weights.h5", ".keras", ".h5 (weights)", ".h5 (model)")
SLOW = ("MobileNetV2", "VGG16", "DenseNet121", "Xception")
TINY = CASES["MobileNet"]


@dataclass(frozen=True)
class Written:
    """Files of a network's weights in every format, and their folder."""

    folder: Path
    files: Mapping[str, Path]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Written]:
    """Write a network's weights once for all formats and engines."""
    done: dict[str, Written] = {}

    def write(case: Case) -> Written:
        if case.name not in done:
            folder = tmp_path_factory.mktemp(case.name)
            done[case.name] = Written(folder, parity.write_case(case, folder))
        return done[case.name]

    return write


@pytest.fixture(scope="module")
def plain(written: Callable[[Case], Written]) -> Any:
    """Return the small network in plain Keras, with the weights that were written."""
    weights = written(TINY).files[".weights.h5"]
    return plain_keras.build_base(TINY.name, TINY.side, weights, **TINY.options)


def _differences(case: Case, weights: Path, folder: Path, engine: Any, base: Any = None) -> tuple[float, float]:
    """Return the relative differences between the features and logits of cnncli and those of plain Keras."""
    bench = parity.set_up(case, weights, folder / "data", folder / "cache", engine)
    base = base or plain_keras.build_base(case.name, case.side, weights, **case.options)
    return parity.compare_features(bench, base, case)


@pytest.mark.parametrize("engine", [pytest.param("keras", marks=pytest.mark.slow), "openvino"])
def test_features_and_logits_equal_plain_keras(engine: str, written: Callable[[Case], Written], plain: Any) -> None:
    """From a weights file and raw pixels, MobileNet matches Keras within 1e-4 of the largest value in float32."""
    network = written(TINY)
    assert max(_differences(TINY, network.files[".weights.h5"], network.folder, engine, plain)) < 1e-4


QUICK = (".weights.h5", ".h5 (model)")


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=[] if form in QUICK else [pytest.mark.slow]) for form in FORMS]
)
def test_every_form_of_weights_is_read_as_keras_reads_it(
    form: str, written: Callable[[Case], Written], plain: Any
) -> None:
    """Weights of Keras 3, a `.keras` archive and both legacy formats are read bit for bit."""
    network = written(TINY)
    bench = parity.set_up(TINY, network.files[form], network.folder / "data", network.folder / "cache", "keras")
    for weight in plain.weights:
        weight.assign(np.zeros(weight.shape))
    plain.load_weights(network.files[form])
    ours = [weight.numpy() for layer in bench.classifier.backbone_layers for weight in getattr(layer, "weights", ())]
    theirs = [weight.numpy() for layer in plain.layers for weight in layer.weights]

    assert len(ours) == len(theirs) > 100
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("pooling", "output_layer"),
    [pytest.param("avg", "conv_dw_6", marks=pytest.mark.slow), ("max", None), ("flatten", "conv_dw_6")],
)
def test_poolings_and_output_layers_are_keras_own(
    pooling: str, output_layer: str | None, written: Callable[[Case], Written], plain: Any
) -> None:
    """A backbone that ends early, even inside a block, equals that of a Keras user for each kind of pooling."""
    network, keras = written(TINY), import_keras()
    file = network.files[".weights.h5"]
    config = Config.model_validate(
        {
            "data": {"path": "unused", "image_size": TINY.side},
            "backbone": {
                "name": TINY.name,
                "weights": str(file),
                "options": dict(TINY.options),
                "output_layer": output_layer,
            },
            "head": {"pooling": pooling, "activation": "linear"},
        }
    )
    model = build_classifier(config, 3).model
    maps = plain.output if output_layer is None else plain.get_layer(output_layer).output
    pool = {
        "avg": keras.layers.GlobalAveragePooling2D(),
        "max": keras.layers.GlobalMaxPooling2D(),
        "flatten": keras.layers.Flatten(),
    }[pooling]
    pixels = np.random.default_rng(0).integers(0, 256, (4, TINY.side, TINY.side, 3)).astype(np.float32)
    features = keras.Model(plain.inputs, pool(maps))([plain_keras.preprocess(TINY.name, pixels)], training=False)
    kernel, bias = model.get_layer("head_logits").get_weights()

    assert parity.relative(model(pixels, training=False), features.numpy() @ kernel + bias) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("engine", ["keras", "openvino"])
@pytest.mark.parametrize("name", SLOW)
def test_named_networks_equal_plain_keras(
    name: str, engine: str, form: str, written: Callable[[Case], Written]
) -> None:
    """Networks whose published weights are not available match Keras in every format and on both engines."""
    network = written(CASES[name])
    assert max(_differences(CASES[name], network.files[form], network.folder, engine)) < 1e-4


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("engine", ["keras", "openvino"])
def test_resnet50_with_real_weights_equals_plain_keras(engine: str, shared: Path, tmp_path: Path) -> None:
    """With published weights, and thus activations of realistic size, ResNet50 matches Keras."""
    case = CASES["ResNet50"]
    parity.draw_images(tmp_path / "data", case.side)
    assert max(_differences(case, shared / "weights" / "ResNet50_notop.weights.h5", tmp_path, engine)) < 1e-4
