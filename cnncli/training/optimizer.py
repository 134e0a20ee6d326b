"""The optimizer of a stage, its learning rate schedule, and the patience of plateaus and early stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.config.training_settings import EarlyStoppingConfig, OptimizerConfig, PlateauConfig, ScheduleConfig
from cnncli.errors import ConfigError, Message
from cnncli.metrics.table import is_better
from cnncli.networks.backend import import_keras

if TYPE_CHECKING:
    import keras


def build_optimizer(settings: OptimizerConfig) -> keras.optimizers.Optimizer:
    """Build a new Keras optimizer. Raises ConfigError if Keras rejects an argument."""
    name = OPTIMIZERS[settings.name.lower()].class_name
    try:
        return getattr(import_keras().optimizers, name)(learning_rate=settings.learning_rate, **settings.arguments)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        key, text = "training.optimizer", f"training.optimizer: keras.optimizers.{name} rejects this: {reason}"
        raise ConfigError(Message("config-optimizer-rejected", text, key=key, reason=reason)) from error


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


@dataclass
class Patience:
    """Counts in `waited` the epochs since the monitored metric last improved."""

    best: float | None = None
    waited: int = 0

    def update(self, settings: EarlyStoppingConfig | PlateauConfig, results: Mapping[str, float]) -> int:
        """Add the results of an epoch, and return the number of epochs without improvement."""
        value = results[settings.monitor]
        if is_better(settings.monitor, value, self.best, settings.min_delta):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited


@dataclass
class Plateau:
    """Lowers the learning rate by `factor` as Keras's ReduceLROnPlateau does, including its cooldown in epochs."""

    patience: Patience = field(default_factory=Patience)
    cooldown: int = 0
    factor: float = 1.0

    def update(self, settings: PlateauConfig, results: Mapping[str, float], learning_rate: float) -> None:
        """Add the results of an epoch and update `factor`, given the optimizer's learning rate before any factor."""
        if self.cooldown > 0:
            self.cooldown -= 1
            self.patience.waited = 0
        waited = self.patience.update(settings, results)
        if self.cooldown > 0:
            self.patience.waited = 0
        elif waited >= settings.patience:
            lowest = min(settings.min_learning_rate / learning_rate, self.factor)
            self.factor = max(self.factor * settings.factor, lowest)
            self.cooldown = settings.cooldown
            self.patience.waited = 0
