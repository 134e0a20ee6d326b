"""Many tensors cross a cut in one order, whichever engine runs the trunk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnncli.engines.openvino import OpenVinoEngine, convert_graph
from cnncli.networks.backend import import_keras

MANY = 12
"""More than ten: sorted as text, the tenth comes before the second."""


def test_a_converted_trunk_gives_its_tensors_in_the_cuts_order(tmp_path: Path) -> None:
    """As many as cross inside NASNet and more, all of one shape: swapped ones would not be noticed later."""
    keras = import_keras()
    pixels = keras.Input((8, 8, 3), name="pixels")
    trunk = keras.Model([pixels], [keras.layers.Rescaling(float(k + 1))(pixels) for k in range(MANY)])
    convert_graph(trunk, tmp_path / "trunk.xml", pixels=True)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)

    features = OpenVinoEngine(tmp_path / "trunk.xml", "float32").run([images])

    assert len(features) == MANY
    for k, tensor in enumerate(features):
        np.testing.assert_array_equal(tensor, (k + 1) * images.astype(np.float32))


def test_a_converted_tail_takes_its_tensors_in_the_cuts_order(tmp_path: Path) -> None:
    """The other way round: each of many inputs has a weight of its own in the sum."""
    keras = import_keras()
    inputs = [keras.Input((4,)) for _ in range(MANY)]
    total = keras.layers.Add()([keras.layers.Rescaling(float(k + 1))(tensor) for k, tensor in enumerate(inputs)])
    convert_graph(keras.Model(inputs, total), tmp_path / "tail.xml", pixels=False)
    features = [np.full((3, 4), 100.0**k % 97, np.float32) for k in range(MANY)]

    (found,) = OpenVinoEngine(tmp_path / "tail.xml", "float32").run(features)

    np.testing.assert_allclose(found, sum((k + 1) * tensor for k, tensor in enumerate(features)), rtol=1e-6)
