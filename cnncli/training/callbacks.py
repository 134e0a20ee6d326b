"""Watching a metric: which epoch is best, when to stop, when to lower the learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cnncli.config.schema import EarlyStoppingConfig, PlateauConfig


def is_better(metric: str, value: float, than: float | None, min_delta: float = 0.0) -> bool:
    """Whether a metric's value beats another by more than `min_delta`; anything beats None.

    Losses are better when lower, accuracies when higher.
    """
    if than is None:
        return True
    return value < than - min_delta if metric.endswith("loss") else value > than + min_delta


@dataclass
class Patience:
    """Counts the epochs since a metric last improved."""

    metric: str
    min_delta: float
    best: float | None = None
    waited: int = 0

    def see(self, value: float) -> int:
        """Take an epoch's value; gives the number of epochs without improvement."""
        if is_better(self.metric, value, self.best, self.min_delta):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited


class EarlyStopping:
    """Ends a stage after `patience` epochs without improvement."""

    def __init__(self, settings: EarlyStoppingConfig) -> None:
        self._settings = settings
        self._patience = Patience(settings.monitor, settings.min_delta)

    def should_stop(self, metrics: dict[str, float]) -> bool:
        """Take an epoch's metrics; whether the stage ends now."""
        return self._patience.see(metrics[self._settings.monitor]) >= self._settings.patience

    def to_dict(self) -> dict[str, Any]:
        """What epochs have changed, as plain data."""
        return asdict(self._patience)

    def load(self, state: Mapping[str, Any]) -> None:
        """Become what `to_dict` told."""
        self._patience = Patience(**state)


class Plateau:
    """Lowers the learning rate as Keras's ReduceLROnPlateau does, cooldown included."""

    def __init__(self, settings: PlateauConfig) -> None:
        self._settings = settings
        self._patience = Patience(settings.monitor, settings.min_delta)
        self._cooldown = 0
        self.factor = 1.0

    def see(self, metrics: dict[str, float], learning_rate: float) -> None:
        """Take an epoch's metrics and update `factor`.

        Args:
            metrics: of the epoch.
            learning_rate: the optimizer's, before any factor; decides where `min_learning_rate` is reached.
        """
        if self._cooldown > 0:
            self._cooldown -= 1
            self._patience.waited = 0
        waited = self._patience.see(metrics[self._settings.monitor])
        if self._cooldown > 0:
            self._patience.waited = 0
        elif waited >= self._settings.patience:
            lowest = min(self._settings.min_learning_rate / learning_rate, self.factor)
            self.factor = max(self.factor * self._settings.factor, lowest)
            self._cooldown = self._settings.cooldown
            self._patience.waited = 0

    def to_dict(self) -> dict[str, Any]:
        """What epochs have changed, as plain data."""
        return {"patience": asdict(self._patience), "cooldown": self._cooldown, "factor": self.factor}

    def load(self, state: Mapping[str, Any]) -> None:
        """Become what `to_dict` told."""
        self._patience, self._cooldown = Patience(**state["patience"]), state["cooldown"]
        self.factor = state["factor"]
