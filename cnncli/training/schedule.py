"""The learning rate over a stage."""

from __future__ import annotations

import math

from cnncli.config.schema import ScheduleConfig


def learning_rate_factor(schedule: ScheduleConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """What the optimizer's learning rate is multiplied by.

    Args:
        schedule: its settings.
        step: steps taken since the stage began.
        steps_per_epoch: steps in an epoch.
        epochs: length of the stage.

    Returns:
        A factor in 0-1. The first step of a warm-up has a small rate, not none.
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
            share = min(since / max(epochs - schedule.warmup_epochs, 1e-9), 1.0)
            low = schedule.final_fraction
            return low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * share))
