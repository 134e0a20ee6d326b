"""Networks with weights of every kind set to seeded noise, so that a weight in the wrong place shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.networks.backend import import_keras


def filled(model: Any, seed: int = 0) -> Any:
    """The model itself, its weights and batch-norm statistics drawn from a seed; variances and scales positive."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        values = random.normal(0.0, 0.1, variable.shape)
        positive = any(word in variable.name for word in ("variance", "gamma"))
        variable.assign(np.abs(values) + 0.5 if positive else values)
    for layer in model.layers:
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return model


def images(side: int, n: int = 2) -> NDArray[np.float32]:
    """Preprocessed images, (n, side, side, 3) in −1 … 1."""
    return np.random.default_rng(7).uniform(-1.0, 1.0, (n, side, side, 3)).astype(np.float32)


def features(model: Any, side: int) -> NDArray[np.float32]:
    """What a model makes of `images(side)`, in inference mode."""
    result: NDArray[np.float32] = import_keras().ops.convert_to_numpy(model(images(side), training=False))
    return result
