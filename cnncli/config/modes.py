"""Modes as stages: what feature-extraction, fine-tuning and from-scratch mean, spelled out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cnncli.config.schema import (
    Config,
    EarlyStoppingConfig,
    OptimizerConfig,
    PlateauConfig,
    ScheduleConfig,
    StageConfig,
)

DEFAULT_EPOCHS = 20
FINE_TUNING_EPOCHS = 10
FINE_TUNING_LEARNING_RATE_FACTOR = 0.1


@dataclass(frozen=True)
class Stage:
    """A stage with nothing left to inherit; fields as in `StageConfig`."""

    name: str
    unfreeze: int | str
    epochs: int
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    reduce_on_plateau: PlateauConfig | None
    early_stopping: EarlyStoppingConfig | None
    batch_norm: Literal["frozen", "train"]
