"""Notes about settings that are allowed but probably not intended."""

from __future__ import annotations

from collections.abc import Iterator

from cnncli.catalogue.losses import LOSSES
from cnncli.config.modes import frozen_stages, stages_of
from cnncli.config.schema import Config
from cnncli.errors import Message
from cnncli.metrics.table import LAST, VALIDATION


def notes_of(config: Config) -> Iterator[Message]:
    """Yield notes about settings that are allowed but probably not intended."""
    stages = stages_of(config)
    for stage in stages:
        if (warmup := stage.schedule.warmup_epochs) >= stage.epochs:
            effect = "the learning rate never reaches its full value."
            text = f"stage {stage.name}: warm-up takes {warmup:g} of {stage.epochs} epochs: {effect}"
            yield Message("config-warmup-too-long", text, stage=stage.name, received=warmup, epochs=stage.epochs)
    if config.has_adapter:
        text = (
            "backbone.adapter is trained below the backbone, so no features are cached: the whole network runs in "
            "every step, frozen or not."
        )
        yield Message("config-adapter-no-cache", text, key="backbone.adapter")
    loss, activation = config.training.loss, config.head.activation
    if LOSSES[loss].is_of_scores and activation != "linear":
        text = f"training.loss: {loss} is a loss of scores, but head.activation: {activation} gives probabilities."
        remedy = "Set head.activation: linear, or leave it out."
        yield Message("config-loss-of-probabilities", f"{text} {remedy}", key="head.activation", received=activation)
    for key, backbone in config.backbones_by_key.items():
        if not backbone.is_pretrained and (frozen := frozen_stages(stages)):
            remedy = "Use mode: from-scratch to train all weights."
            text = f"stage {frozen[0]}: with {key}.weights: none, features come from frozen random weights. {remedy}"
            yield Message("config-random-backbone-frozen", text, stage=frozen[0], key=f"{key}.weights")
    if not config.augmentation.mixes:
        return
    # A decision that depends on a metric of mixed training images
    monitors = {"training.best.monitor": config.training.best.monitor}
    for stage in stages:
        if stage.early_stopping:
            monitors[f"early_stopping.monitor of stage {stage.name}"] = stage.early_stopping.monitor
        if stage.reduce_on_plateau:
            monitors[f"reduce_on_plateau.monitor of stage {stage.name}"] = stage.reduce_on_plateau.monitor
    for key, metric in monitors.items():
        if not metric.startswith(VALIDATION) and metric != LAST:
            text = f"{key}: {metric} is computed on images mixed by augmentation. Use val_{metric}."
            yield Message("config-mixed-metric", text, key=key, received=metric, expected=f"val_{metric}")
