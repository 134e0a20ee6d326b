"""Settings without effect in a config: an error if they are written, and left out of a resolved config."""

from __future__ import annotations

from cnncli.config.modes import in_every_stage, stages_of
from cnncli.config.schema import Config
from cnncli.config.solver import GRADIENT_SETTINGS

_SCHEDULES = {
    "every_epochs": ("step", "exponential"),
    "factor": ("step", "exponential"),
    "final_fraction": ("cosine",),
}
"""Schedules that have a parameter, by parameter."""


def idle_settings(config: Config) -> dict[str, tuple[str, str]]:
    """Return the settings without effect, each with the reason and the expected value."""
    idle: dict[str, tuple[str, str]] = {}
    training, augmentation = config.training, config.augmentation
    mode_trains = {"feature-extraction": 0, "from-scratch": "all"}
    if training.stages is None and training.unfreeze != mode_trains.get(config.mode, training.unfreeze):
        idle["training.unfreeze"] = (f"has no effect in mode {config.mode}", "mode: fine-tuning as well")
    if training.stages is not None or config.mode != "fine-tuning":
        where = f"in mode {config.mode}" if training.stages is None else "with training.stages"
        idle["training.gradual_unfreezing"] = (f"has no effect {where}", "mode: fine-tuning without training.stages")
    elif training.gradual_unfreezing:
        idle["training.unfreeze"] = ("has no effect with training.gradual_unfreezing", "only one of them")
    if all(stage.unfreeze == 0 for stage in stages_of(config)):
        idle["training.layer_decay"] = ("has no effect while the backbone is frozen", "mode: fine-tuning as well")
    if config.data.labels.path is None:
        for name in ("image", "label", "split"):
            idle[f"data.labels.{name}"] = ("has no effect without a table", "data.labels.path as well")
    for key, schedule in in_every_stage(config, "schedule").items():
        for name, schedules in _SCHEDULES.items():
            if schedule.name not in schedules:
                why = f"has no effect on a {schedule.name} schedule"
                idle[f"{key}.{name}"] = (why, f"{' or '.join(schedules)} as {key}.name")
    if augmentation.fill_mode != "constant":
        why = f"has no effect with fill_mode: {augmentation.fill_mode}"
        idle["augmentation.cval"] = (why, "augmentation.fill_mode: constant as well")
    if config.data.color in ("grayscale", "bands"):
        for name in ("saturation_range", "hue_range"):
            what = "grayscale images" if config.data.color == "grayscale" else "bands, which are not colors"
            idle[f"augmentation.{name}"] = (f"has no effect on {what}", "data.color: rgb as well")
    if config.data.color != "bands":
        idle["data.bands"] = (f"has no effect with color: {config.data.color}", "data.color: bands as well")
    for key, backbone in config.backbones_by_key.items():
        if not backbone.is_pretrained:
            why = "has no effect without pretrained weights: the network takes any number of channels"
            idle[f"{key}.adapter"] = (why, "pretrained weights")
        for number, block in enumerate(backbone.options.get("blocks") or ()):
            for name in block.idle:
                why = "has no effect in a block without filters, which has no convolution"
                idle[f"{key}.options.blocks.{number}.{name}"] = (why, "filters as well")
    if not augmentation.is_active and augmentation.views not in (None, 1):
        idle["augmentation.views"] = ("every view would be the image itself", "an augmentation as well")
    if training.solver != "exact":
        idle["data.folds"] = ("has no effect on a head that is trained by gradients", "null; crossval has --folds")
        return idle
    unused = {f"training.{name}": name for name in GRADIENT_SETTINGS}
    inner = tuple(f"{key}." for key in unused)
    idle = {key: reason for key, reason in idle.items() if not key.startswith(inner)}
    reason = ("has no effect on a head that is solved exactly", "training.solver: gradient as well")
    return {**idle, **dict.fromkeys(unused, reason)}
