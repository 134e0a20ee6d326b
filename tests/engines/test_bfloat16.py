"""The bfloat16 copy of a network in the Keras engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.engines.keras import KerasEngine
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import cut_classifier
from tests.support import plain_keras
from tests.support.drawing import tiny_config
from tests.support.parity import relative

IMAGES = 4


NETWORKS = [
    pytest.param("ConvNet", {"filters": [8, 16], "batch_norm": True}, id="ConvNet"),
    *(pytest.param(name, {}, marks=pytest.mark.slow, id=name) for name in ("EfficientNetB0", "MobileNetV3Small")),
]


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_bfloat16_features_are_close_to_float32_features(name: str, options: dict[str, Any]) -> None:
    """bfloat16 features equal float32 features within 5 %, even if the normalization statistics are weights."""
    config = tiny_config(Path("unused"), backbone={"name": name, "weights": "none", "options": options})
    classifier = build_classifier(config, 2)
    plain_keras.vary(classifier.model, 1)
    for layer in classifier.model.layers:
        if type(layer).__name__ == "Normalization":
            layer.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.052, 0.050, 0.051]), np.array(0)])
            layer.finalize_state()
    trunk = cut_classifier(classifier, 0).trunk
    assert trunk is not None
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)

    (expected,) = KerasEngine(trunk, "float32", IMAGES).run([pixels])
    (found,) = KerasEngine(trunk, "bfloat16", IMAGES).run([pixels])

    assert relative(found, expected) < 0.05
