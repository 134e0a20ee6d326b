"""Settings that have no effect beside others: an error where one is written, left out of a resolved config."""

from __future__ import annotations

from cnncli.config.draft import schedules_of
from cnncli.config.schema import Config

_SCHEDULES = {
    "every_epochs": ("step", "exponential"),
    "factor": ("step", "exponential"),
    "final_fraction": ("cosine",),
}
"""Which schedules have a parameter."""


def idle_settings(config: Config) -> dict[str, tuple[str, str]]:
    """The settings without effect.

    Returns: for each key why it has none, and what it would need, in words that fit behind `expected`.
    """
    idle: dict[str, tuple[str, str]] = {}
    training, augmentation = config.training, config.augmentation
    mode_trains = {"feature-extraction": 0, "from-scratch": "all"}
    if training.stages is None and training.unfreeze != mode_trains.get(config.mode, training.unfreeze):
        idle["training.unfreeze"] = (f"has no effect in mode {config.mode}", "mode: fine-tuning with it")
    for key, schedule in schedules_of(config).items():
        for name, schedules in _SCHEDULES.items():
            if schedule.name not in schedules:
                why = f"has no effect on a {schedule.name} schedule"
                idle[f"{key}.{name}"] = (why, f"{' or '.join(schedules)} as {key}.name")
    if augmentation.fill_mode != "constant":
        why = f"has no effect with fill_mode: {augmentation.fill_mode}"
        idle["augmentation.cval"] = (why, "augmentation.fill_mode: constant with it")
    if config.data.color == "grayscale":
        for name in ("saturation_range", "hue_range"):
            idle[f"augmentation.{name}"] = ("has no effect on grayscale images", "data.color: rgb with it")
    if not augmentation.is_active and augmentation.views not in (None, 1):
        idle["augmentation.views"] = ("every view would be the image itself", "an operation that is switched on")
    return idle
