"""The stages of the modes feature-extraction, fine-tuning and from-scratch."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from cnncli.catalogue.metrics import KERAS_METRICS
from cnncli.config.schema import MAX_NAME_LENGTH, Config
from cnncli.config.training_settings import (
    EarlyStoppingConfig,
    OptimizerConfig,
    PlateauConfig,
    ScheduleConfig,
    StageConfig,
)
from cnncli.metrics.table import METRICS, VALIDATION

DEFAULT_EPOCHS = 20
FINE_TUNING_EPOCHS = 10
FINE_TUNING_LEARNING_RATE_FACTOR = 0.1


@dataclass(frozen=True)
class Stage:
    """A stage with all settings resolved; the fields are those of `StageConfig`."""

    name: str
    unfreeze: int | str
    epochs: int
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    reduce_on_plateau: PlateauConfig | None
    early_stopping: EarlyStoppingConfig | None
    batch_norm: Literal["frozen", "train"]


def stages_of(config: Config) -> tuple[Stage, ...]:
    """Return the stages of a config in order: its listed stages, or those of its mode."""
    if config.training.stages is not None:
        return tuple(_explicit_stage(config, stage) for stage in config.training.stages)
    match config.mode:
        case "feature-extraction":
            return (head_stage(config),)
        case "fine-tuning":
            return (head_stage(config), *_fine_tuning_stages(config))
        case "from-scratch":
            return (replace(head_stage(config), name="scratch", unfreeze="all"),)


def metrics_of(config: Config) -> tuple[str, ...]:
    """Return the metrics of Keras that a config names, in `training.metrics` or to monitor them."""
    monitors = [config.training.best.monitor]
    for stage in stages_of(config):
        monitors += [group.monitor for group in (stage.early_stopping, stage.reduce_on_plateau) if group]
    monitored = [name for one in monitors if (name := one.removeprefix(VALIDATION)) in KERAS_METRICS]
    return tuple(name for name in dict.fromkeys([*config.training.metrics, *monitored]) if name not in METRICS)


def with_epochs(config: Config, epochs: int) -> Config:
    """Return a copy of a config whose last stage has the given number of epochs."""
    stages = stages_of(config)
    if config.training.stages is None and len(stages) == 1:
        changed: dict[str, object] = {"epochs": epochs}
    else:
        *others, last = (StageConfig.model_validate(vars(stage)) for stage in stages)
        changed = {"stages": (*others, last.model_copy(update={"epochs": epochs}))}
    return config.model_copy(update={"training": config.training.model_copy(update=changed)})


def run_name(config: Config) -> str:
    """Return the name of a config's run: the one it sets, or one made of backbone and mode."""
    default = "-".join([*(backbone.network.name for backbone in config.backbones), config.mode]).lower()
    return config.name or re.sub(r"[^\w.-]", "-", default, flags=re.ASCII)[:MAX_NAME_LENGTH]


def head_stage(config: Config) -> Stage:
    """Return the stage that trains the head on a frozen backbone."""
    training = config.training
    return Stage(
        name="head",
        unfreeze=0,
        epochs=training.epochs or default_epochs(config),
        optimizer=training.optimizer,
        schedule=training.schedule,
        reduce_on_plateau=training.reduce_on_plateau,
        early_stopping=training.early_stopping,
        # With random weights there are no statistics worth keeping.
        batch_norm=training.batch_norm if config.is_pretrained else "train",
    )


def fine_tuning_stage(config: Config) -> Stage:
    """Return the stage that trains the head and the top of the backbone with a tenth of the learning rate.

    It is the second stage of `mode: fine-tuning` and the only stage of `cnncli finetune`.
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


def _fine_tuning_stages(config: Config) -> tuple[Stage, ...]:
    """Return the stages after the first one of mode fine-tuning: one, or one for each step of gradual unfreezing."""
    stage = fine_tuning_stage(config)
    if (steps := config.training.gradual_unfreezing) is None:
        return (stage,)
    return tuple(replace(stage, name=f"{stage.name}-{n}", unfreeze=step) for n, step in enumerate(steps, start=1))


def default_epochs(config: Config) -> int:
    """Return the epochs of a stage if neither the stage nor `training.epochs` sets them."""
    return FINE_TUNING_EPOCHS if config.mode == "fine-tuning" else DEFAULT_EPOCHS


def _explicit_stage(config: Config, stage: StageConfig) -> Stage:
    """Return a listed stage, completed from `training`; null disables plateau or early stopping."""
    given = {name: getattr(stage, name) for name in stage.model_fields_set}
    may_be_null = {"reduce_on_plateau", "early_stopping"}
    own = {name: value for name, value in given.items() if value is not None or name in may_be_null}
    return replace(head_stage(config), **{"unfreeze": stage.unfreeze, **own})


def frozen_stages(stages: tuple[Stage, ...]) -> list[str]:
    """Return the names of the stages that train only the head."""
    return [stage.name for stage in stages if stage.unfreeze == 0]


def in_every_stage(config: Config, name: str) -> dict[str, Any]:
    """Return a group of `training`, and that of each stage that sets it, by key."""
    stages = enumerate(config.training.stages or ())
    own = {f"training.stages.{number}.{name}": group for number, stage in stages if (group := getattr(stage, name))}
    return {f"training.{name}": getattr(config.training, name), **own}
