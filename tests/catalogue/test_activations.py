"""The catalogue of activations agrees with Keras."""

from __future__ import annotations

import numpy as np

from cnncli.catalogue.activations import ACTIVATIONS
from cnncli.networks.backend import import_keras


def test_catalogue_is_every_activation_of_keras_that_keeps_the_shape() -> None:
    """Keras has no other activations that keep the shape."""
    keras = import_keras()
    public = {name for name in dir(keras.activations) if not name.startswith("_")}
    names = public - {"deserialize", "get", "serialize", "glu", "threshold"}
    assert set(ACTIVATIONS) == names


def test_each_activation_works_by_its_name() -> None:
    """A dense layer accepts the name and keeps its output shape."""
    keras = import_keras()
    for name in ACTIVATIONS:
        assert keras.layers.Dense(3, activation=name)(np.ones((2, 4), "float32")).shape == (2, 3), name


def test_what_is_left_out_does_not_keep_the_shape_or_needs_arguments() -> None:
    """Both exceptions still hold: one changes the shape, one needs arguments."""
    keras = import_keras()
    assert keras.activations.glu(np.ones((2, 4), "float32")).shape == (2, 2)
    assert keras.activations.get("threshold").__code__.co_argcount == 3
