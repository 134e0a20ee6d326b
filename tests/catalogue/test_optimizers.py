"""The catalogue of optimizers compared with Keras."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.networks.backend import import_keras

WRAPPERS = {"LossScaleOptimizer", "MultiOptimizer", "OptimizerMap", "Optimizer"}
NOT_OFFERED = {"self", "learning_rate", "name", "kwargs", "loss_scale_factor", "exclude_layers"}


def _signature(class_name: str) -> dict[str, Any]:
    """Return the arguments of a Keras optimizer and their defaults."""
    parameters = inspect.signature(getattr(import_keras().optimizers, class_name).__init__).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name not in NOT_OFFERED}


def test_catalogue_is_every_optimizer_of_keras() -> None:
    """The catalogue contains exactly the optimizers of Keras, without wrappers."""
    public = {name for name, thing in vars(import_keras().optimizers).items() if inspect.isclass(thing)}
    assert {info.class_name for info in OPTIMIZERS.values()} == public - WRAPPERS


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_arguments_and_defaults_are_those_of_keras(name: str) -> None:
    """The catalogue lists every argument of the Keras class with the same default."""
    info = OPTIMIZERS[name]
    assert name == info.class_name.lower()
    assert {argument: option.default for argument, option in info.arguments.items()} == _signature(info.class_name)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_default_is_accepted(name: str) -> None:
    """Every default lies within the range of its option or is None."""
    for argument, option in OPTIMIZERS[name].arguments.items():
        assert option.default is None or option.accepts(option.default), argument


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_keras_accepts_every_argument_of_each_optimizer(name: str) -> None:
    """Keras creates each optimizer when every argument in the catalogue is passed explicitly."""
    info = OPTIMIZERS[name]
    arguments = {argument: option.default for argument, option in info.arguments.items()}
    optimizer = getattr(import_keras().optimizers, info.class_name)(learning_rate=0.01, **arguments)
    assert float(optimizer.learning_rate) == pytest.approx(0.01)
