"""Networks with all weights set to seeded noise, so that a misplaced weight changes the output."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.networks.backend import import_keras


def filled(model: Any, seed: int = 0) -> Any:
    """Set a model's weights and batch-norm statistics to seeded noise (variances and scales positive); return it."""
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
    """Return preprocessed images of shape (n, side, side, 3) in −1…1."""
    return np.random.default_rng(7).uniform(-1.0, 1.0, (n, side, side, 3)).astype(np.float32)


def features(model: Any, side: int) -> NDArray[np.float32]:
    """Return the output of a model for `images(side)` in inference mode."""
    result: NDArray[np.float32] = import_keras().ops.convert_to_numpy(model(images(side), training=False))
    return result
