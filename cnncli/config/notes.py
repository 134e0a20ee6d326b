"""What a reader of a config should know although nothing in it is wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cnncli.config.modes import stages_of
from cnncli.config.overrides import PREFIX, shown_variable, unknown_variables
from cnncli.config.schema import Config
from cnncli.config.suggestions import variable_hint


def notes_of(config: Config) -> tuple[str, ...]:
    """Sentences about settings that are allowed, but can hardly be meant."""
    return (*_warmup_notes(config), *_random_trunk_notes(config), *_mixing_notes(config))


def variable_notes(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Sentences about variables that look like settings of ours and are none.

    Args:
        environment: default: that of this process.
    """
    environment = os.environ if environment is None else environment
    return tuple(
        f"{shown_variable(name, environment[name])}: is no setting and has no effect. "
        f"{variable_hint(name.removeprefix(PREFIX))}"
        for name in unknown_variables(environment)
    )


def _random_trunk_notes(config: Config) -> tuple[str, ...]:
    frozen = [stage.name for stage in stages_of(config) if stage.unfreeze == 0]
    if config.backbone.weights != "none" or not frozen:
        return ()
    return (
        f"stage {frozen[0]}: backbone.weights is none, so its features are those of random weights that stay frozen. "
        "mode: from-scratch trains all of it.",
    )


def _warmup_notes(config: Config) -> tuple[str, ...]:
    return tuple(
        f"stage {stage.name}: {stage.schedule.warmup_epochs:g} epochs of warm-up in {stage.epochs} epochs: "
        "the learning rate never reaches its height."
        for stage in stages_of(config)
        if stage.schedule.warmup_epochs >= stage.epochs
    )


def _mixing_notes(config: Config) -> tuple[str, ...]:
    """Metrics of mixed training images, which say little, where something depends on them."""
    if not config.augmentation.mixes:
        return ()
    metrics = {"training.best.monitor": config.training.best.monitor}
    for stage in stages_of(config):
        if stage.early_stopping:
            metrics[f"early_stopping.monitor of stage {stage.name}"] = stage.early_stopping.monitor
        if stage.reduce_on_plateau:
            metrics[f"reduce_on_plateau.monitor of stage {stage.name}"] = stage.reduce_on_plateau.monitor
    return tuple(
        f"{key}: {metric} is that of mixed images and labels; val_{metric} is not."
        for key, metric in metrics.items()
        if metric in ("loss", "accuracy")
    )
