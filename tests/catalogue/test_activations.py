"""The catalogue of activations compared with Keras."""

from __future__ import annotations

import numpy as np

from cnncli.catalogue.activations import ACTIVATIONS
from cnncli.networks.backend import import_keras


def test_catalogue_is_every_activation_of_keras_that_keeps_the_shape() -> None:
    """The catalogue contains every activation of Keras except `glu` and `threshold`."""
    keras = import_keras()
    public = {name for name in dir(keras.activations) if not name.startswith("_")}
    names = public - {"deserialize", "get", "serialize", "glu", "threshold"}
    assert set(ACTIVATIONS) == names


def test_each_activation_works_by_its_name() -> None:
    """Keras's dense layer accepts each activation name, and its output shape is unchanged."""
    keras = import_keras()
    for name in ACTIVATIONS:
        assert keras.layers.Dense(3, activation=name)(np.ones((2, 4), "float32")).shape == (2, 3), name


def test_omitted_activations_change_the_shape_or_need_arguments() -> None:
    """`glu` halves the last axis and `threshold` requires arguments, so neither is in the catalogue."""
    keras = import_keras()
    assert keras.activations.glu(np.ones((2, 4), "float32")).shape == (2, 2)
    assert keras.activations.get("threshold").__code__.co_argcount == 3
