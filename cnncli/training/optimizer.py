"""The optimizer of a stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.config.schema import OptimizerConfig
from cnncli.errors import ConfigError
from cnncli.networks.backend import import_keras

if TYPE_CHECKING:
    import keras


def build_optimizer(settings: OptimizerConfig) -> keras.optimizers.Optimizer:
    """A fresh optimizer of Keras.

    Raises:
        ConfigError: Keras refuses an argument's value.
    """
    name = OPTIMIZERS[settings.name.lower()].class_name
    try:
        return getattr(import_keras().optimizers, name)(learning_rate=settings.learning_rate, **settings.arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"training.optimizer: keras.optimizers.{name} says: {' '.join(str(error).split())}"
        ) from error
