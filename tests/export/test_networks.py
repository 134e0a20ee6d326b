"""The converters of the formats support the networks of the catalogue, or refuse them by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnncli.catalogue.networks import NETWORKS
from cnncli.config.schema import Config
from cnncli.errors import EngineError
from cnncli.export.formats import FORMATS, module_of
from cnncli.export.source import ExportSource
from cnncli.networks.classifier import build_classifier

FAMILIES = (
    *("LeNet5", "AlexNet", "SmallerVGGNet", "GoogLeNet", "ResNet20", "ResNeXt50", "DenseNet", "SqueezeNet", "ViT"),
    *("ShuffleNetV2", "EfficientNetLite0", "Xception", "ResNet50V2", "InceptionV3", "MobileNet", "MobileNetV2"),
    *("MobileNetV3Small", "NASNetMobile", "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny"),
)
"""One network of each family."""
FACTS = {"classes": ["a", "b", "c"], "preprocessing": "none"}


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
