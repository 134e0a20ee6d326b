"""The order of the tensors that cross a cut, in converted graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnncli.engines.openvino import OpenVinoEngine, convert_graph
from cnncli.networks.backend import import_keras

MANY = 12
"""Number of tensors; more than ten, so that sorting their numbers as text would change the order."""


def test_a_converted_trunk_returns_its_tensors_in_order(tmp_path: Path) -> None:
    """A converted trunk returns its tensors in the order of the cut, even if all of them have the same shape."""
    keras = import_keras()
    pixels = keras.Input((8, 8, 3), name="pixels")
    trunk = keras.Model([pixels], [keras.layers.Rescaling(float(k + 1))(pixels) for k in range(MANY)])
    convert_graph(trunk, tmp_path / "trunk.xml", pixels=True)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)

    features = OpenVinoEngine(tmp_path / "trunk.xml", "float32").run([images])

    assert len(features) == MANY
    for k, tensor in enumerate(features):
        np.testing.assert_array_equal(tensor, (k + 1) * images.astype(np.float32))


def test_a_converted_tail_receives_its_tensors_in_order(tmp_path: Path) -> None:
    """A converted tail receives its tensors in the order of the cut, even if all of them have the same shape."""
    keras = import_keras()
    inputs = [keras.Input((4,)) for _ in range(MANY)]
    total = keras.layers.Add()([keras.layers.Rescaling(float(k + 1))(tensor) for k, tensor in enumerate(inputs)])
    convert_graph(keras.Model(inputs, total), tmp_path / "tail.xml", pixels=False)
    features = [np.full((3, 4), 100.0**k % 97, np.float32) for k in range(MANY)]

    (found,) = OpenVinoEngine(tmp_path / "tail.xml", "float32").run(features)

    np.testing.assert_allclose(found, sum((k + 1) * tensor for k, tensor in enumerate(features)), rtol=1e-6)
