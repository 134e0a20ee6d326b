"""Monitoring a metric: when to stop, and when to lower the learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cnncli.config.schema import EarlyStoppingConfig, PlateauConfig
from cnncli.metrics.table import is_better


@dataclass
class Patience:
    """Counts in `waited` the epochs since the monitored metric last improved."""

    best: float | None = None
    waited: int = 0

    def update(self, settings: EarlyStoppingConfig | PlateauConfig, results: Mapping[str, float]) -> int:
        """Take the results of an epoch and return the number of epochs without improvement."""
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
        """Take the results of an epoch and update `factor`, given the optimizer's learning rate before any factor."""
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
