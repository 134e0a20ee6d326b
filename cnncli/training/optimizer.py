"""The optimizer of a stage, and its learning rate over the stage."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.config.schema import OptimizerConfig, ScheduleConfig
from cnncli.errors import ConfigError, Message
from cnncli.networks.backend import import_keras

if TYPE_CHECKING:
    import keras


def build_optimizer(settings: OptimizerConfig) -> keras.optimizers.Optimizer:
    """Build a new Keras optimizer.

    Raises:
        ConfigError: Keras rejects the value of an argument.
    """
    name = OPTIMIZERS[settings.name.lower()].class_name
    try:
        return getattr(import_keras().optimizers, name)(learning_rate=settings.learning_rate, **settings.arguments)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        text = f"training.optimizer: keras.optimizers.{name} rejects this: {reason}"
        raise ConfigError(
            Message("config-optimizer-rejected", text, key="training.optimizer", reason=reason)
        ) from error


def learning_rate_factor(schedule: ScheduleConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the factor (0-1) of the optimizer's learning rate at a step, counted from 0 within the stage.

    The first step of a warm-up has a small rate, not zero.
    """
    warmup_steps = schedule.warmup_epochs * steps_per_epoch
    if step + 1 < warmup_steps:
        return (step + 1) / warmup_steps
    since = max(step - warmup_steps, 0.0) / steps_per_epoch
    match schedule.name:
        case "constant":
            return 1.0
        case "step":
            return schedule.factor ** math.floor(since / schedule.every_epochs)
        case "exponential":
            return float(schedule.factor ** (since / schedule.every_epochs))
        case "cosine":
            progress = min(since / max(epochs - schedule.warmup_epochs, 1e-9), 1.0)
            low = schedule.final_fraction
            return low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * progress))
