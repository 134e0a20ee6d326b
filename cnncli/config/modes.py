"""Modes as stages: what feature-extraction, fine-tuning and from-scratch mean, spelled out."""

from __future__ import annotations

from dataclasses import dataclass, replace
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


def stages_of(config: Config) -> tuple[Stage, ...]:
    """The stages of a config in their order: those it lists, else its mode's."""
    if config.training.stages is not None:
        return tuple(_explicit_stage(config, stage) for stage in config.training.stages)
    match config.mode:
        case "feature-extraction":
            return (head_stage(config),)
        case "fine-tuning":
            return (head_stage(config), fine_tuning_stage(config))
        case "from-scratch":
            return (replace(head_stage(config), name="scratch", unfreeze="all"),)


def with_epochs(config: Config, epochs: int) -> Config:
    """The same config, its last stage with so many epochs."""
    stages = stages_of(config)
    if config.training.stages is None and len(stages) == 1:
        changed: dict[str, object] = {"epochs": epochs}
    else:
        *others, last = (StageConfig.model_validate(vars(stage)) for stage in stages)
        changed = {"stages": (*others, last.model_copy(update={"epochs": epochs}))}
    return config.model_copy(update={"training": config.training.model_copy(update=changed)})


def run_name(config: Config) -> str:
    """The name of a config's run: its own, else the backbone's and the mode's."""
    return config.name or f"{config.backbone.name}-{config.mode}".lower()


def head_stage(config: Config) -> Stage:
    """The stage that trains the head on a frozen backbone."""
    training = config.training
    return Stage(
        name="head",
        unfreeze=0,
        epochs=training.epochs or default_epochs(config),
        optimizer=training.optimizer,
        schedule=training.schedule,
        reduce_on_plateau=training.reduce_on_plateau,
        early_stopping=training.early_stopping,
        batch_norm=_batch_norm(config),
    )


def fine_tuning_stage(config: Config) -> Stage:
    """The stage that trains the head and the top of the backbone, at a tenth of the learning rate.

    It is the second stage of mode fine-tuning, and what is added to a finished run to fine-tune it.
    """
    training = config.training
    learning_rate = training.optimizer.learning_rate * FINE_TUNING_LEARNING_RATE_FACTOR
    return replace(
        head_stage(config),
        name="fine-tune",
        unfreeze=training.unfreeze,
        epochs=training.epochs or FINE_TUNING_EPOCHS,
        optimizer=training.optimizer.model_copy(update={"learning_rate": learning_rate}),
    )


def default_epochs(config: Config) -> int:
    """Epochs of a stage where neither the stage nor `training.epochs` says."""
    return FINE_TUNING_EPOCHS if config.mode == "fine-tuning" else DEFAULT_EPOCHS


def _explicit_stage(config: Config, stage: StageConfig) -> Stage:
    """A listed stage, completed from `training`; `null` for plateau or early stopping is an answer, not a gap."""
    given = {name: getattr(stage, name) for name in stage.model_fields_set}
    may_be_null = {"reduce_on_plateau", "early_stopping"}
    said = {name: value for name, value in given.items() if value is not None or name in may_be_null}
    return replace(head_stage(config), **{"unfreeze": stage.unfreeze, **said})


def _batch_norm(config: Config) -> Literal["frozen", "train"]:
    """Random weights leave nothing to keep frozen: statistics that never move would normalise nothing."""
    return "train" if config.backbone.weights == "none" else config.training.batch_norm
