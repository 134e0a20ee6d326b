"""Monitoring a metric: when to stop, and when to lower the learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncli.config.schema import EarlyStoppingConfig, PlateauConfig
from cnncli.metrics.table import is_better


@dataclass
class Patience:
    """Counts the epochs since a metric last improved.

    Attributes:
        metric: Name of the monitored metric.
        min_delta: Smallest change that counts as an improvement.
        best: Best value so far.
        waited: Number of epochs without improvement.
    """

    metric: str
    min_delta: float
    best: float | None = None
    waited: int = 0

    @classmethod
    def from_config(cls, settings: EarlyStoppingConfig | PlateauConfig) -> Patience:
        """Start with nothing seen."""
        return cls(settings.monitor, settings.min_delta)

    def update(self, results: Mapping[str, float]) -> int:
        """Take the results of an epoch and return the number of epochs without improvement."""
        value = results[self.metric]
        if is_better(self.metric, value, self.best, self.min_delta):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited


@dataclass
class Plateau:
    """Lowers the learning rate as Keras's ReduceLROnPlateau does, including its cooldown.

    Attributes:
        patience: Counts epochs without improvement.
        cooldown: Remaining epochs in which none is counted.
        factor: What the learning rate is multiplied by.
    """

    patience: Patience
    cooldown: int = 0
    factor: float = 1.0

    @classmethod
    def from_config(cls, settings: PlateauConfig) -> Plateau:
        """Start with nothing seen."""
        return cls(Patience.from_config(settings))

    def update(self, settings: PlateauConfig, results: Mapping[str, float], learning_rate: float) -> None:
        """Take the results of an epoch and update `factor`.

        Args:
            settings: Settings.
            results: Results of the epoch.
            learning_rate: The optimizer's before any factor, from which `min_learning_rate` is a fraction.
        """
        if self.cooldown > 0:
            self.cooldown -= 1
            self.patience.waited = 0
        waited = self.patience.update(results)
        if self.cooldown > 0:
            self.patience.waited = 0
        elif waited >= settings.patience:
            lowest = min(settings.min_learning_rate / learning_rate, self.factor)
            self.factor = max(self.factor * settings.factor, lowest)
            self.cooldown = settings.cooldown
            self.patience.waited = 0
