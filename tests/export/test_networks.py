"""The converters of the formats support the networks of the catalogue, or refuse them by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.catalogue.networks import NETWORKS
from cnncli.config.schema import Config
from cnncli.errors import EngineError
from cnncli.export.formats import FORMATS, module_of
from cnncli.export.source import ExportSource
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import build_classifier

FAMILIES = (
    *("LeNet5", "AlexNet", "SmallerVGGNet", "GoogLeNet", "ResNet20", "ResNeXt50", "DenseNet", "SqueezeNet", "ViT"),
    *("ShuffleNetV2", "EfficientNetLite0", "Xception", "ResNet50V2", "InceptionV3", "MobileNet", "MobileNetV2"),
    *("MobileNetV3Small", "NASNetMobile", "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny"),
)
"""One network of each family."""
FACTS = {"classes": ["a", "b", "c"], "preprocessing": "none"}


def source_of(operation: Callable[[Any], Any]) -> ExportSource:
    """Return a classifier of three classes with an operation between two layers."""
    import keras

    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = operation(keras.layers.Dense(4)(keras.layers.Rescaling(1 / 255)(pixels)))
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    return ExportSource(keras.Model(pixels, keras.layers.Activation("softmax")(x)), FACTS)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_onnx_holds_gelu(precision: str, tmp_path: Path) -> None:
    """The activation of ViT and ConvNeXt is written with the operations that ONNX has."""
    source = source_of(lambda x: 3 * import_keras().ops.gelu(x, approximate=False))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    module_of("onnx").write(source, tmp_path, precision)

    found = module_of("onnx").load_for_parity(tmp_path / "classifier.onnx")(pixels)
    assert np.abs(found - source.probabilities(pixels)).max() < (1e-6 if precision == "float32" else 1e-3)


def test_onnx_names_the_operation_that_it_cannot_hold(tmp_path: Path) -> None:
    """A network is refused with the name of the operation that tf2onnx does not know."""
    source = source_of(lambda x: import_keras().ops.erfinv(import_keras().ops.tanh(x)))
    with pytest.raises(EngineError) as caught:
        module_of("onnx").write(source, tmp_path, "float32")

    assert caught.value.code == "export-graph-unsupported"
    assert "Erfinv" in str(caught.value.facts["reason"])


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("form", ["savedmodel", "onnx", "litert", "openvino"])
def test_a_network_is_exported_or_refused_by_name(name: str, form: str, tmp_path: Path) -> None:
    """With random weights, the file gives the outputs of Keras, or the format names the reason."""
    data = {"path": tmp_path, "image_size": NETWORKS[name].input_size}
    config = Config.model_validate({"data": data, "backbone": {"name": name, "weights": "none"}})
    source = ExportSource(build_classifier(config, 3).model, FACTS)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *source.model.input_shape[1:]), np.uint8)
    try:
        module_of(form).write(source, tmp_path, "float32")
    except EngineError as error:
        assert error.code in ("export-graph-unsupported", "engine-graph-unsupported")  # noqa: PT017
        pytest.skip(str(error))
    found = module_of(form).load_for_parity(tmp_path / FORMATS[form].file)(pixels)
    assert np.abs(found - source.probabilities(pixels)).max() < 1e-3
