"""What a reader of a config should know although nothing in it is wrong."""

from __future__ import annotations

from cnncli.config.modes import stages_of
from cnncli.config.schema import Config


def notes_of(config: Config) -> tuple[str, ...]:
    """Sentences about stages that are allowed, but can hardly be meant."""
    return tuple(
        f"stage {stage.name}: {stage.schedule.warmup_epochs:g} epochs of warm-up in {stage.epochs} epochs: "
        "the learning rate never reaches its height."
        for stage in stages_of(config)
        if stage.schedule.warmup_epochs >= stage.epochs
    )
