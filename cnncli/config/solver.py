"""Choice between an exact solver and gradient training for the trained layers of a config."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal

from cnncli.catalogue.losses import CROSS_ENTROPY
from cnncli.config.schema import Config

GRADIENT_SETTINGS = (
    *("batch_size", "epochs", "optimizer", "schedule", "reduce_on_plateau", "early_stopping", "best"),
    *("accumulation", "ema", "layer_decay", "stages", "inspect", "on_nan"),
)
"""Settings of `training` that only gradient training uses."""
EXACT_VALUES = {
    "mode": "feature-extraction",
    "head.layers": "[]",
    "head.l1": "0",
    "training.l1": "0",
    "training.loss": f"{CROSS_ENTROPY}, hinge or squared-error",
    "head.activation": "linear",
    "backbone.adapter": "none",
    "augmentation.mixup": "0",
    "augmentation.cutmix": "0",
    "augmentation.views": "a number",
}
"""Values of settings with which a head can be solved exactly, for messages."""
MAX_NAMED = 3


def choose_solver(config: Config, given: Collection[str]) -> Literal["exact", "gradient"]:
    """Return the solver of a config; `auto` is exact unless the config or a setting of `given` asks for anything else.

    `given` contains the names of the settings of `training` that were written.
    """
    if config.training.solver != "auto":
        return config.training.solver
    is_gradient = any(exact_obstacles(config)) or not set(GRADIENT_SETTINGS).isdisjoint(given)
    return "gradient" if is_gradient else "exact"


def describe_solver(config: Config) -> str:
    """Return the solver and the reason for it."""
    if config.training.solver == "exact":
        return "solved exactly, because it is one linear layer on frozen features"
    for key, reason in exact_obstacles(config):
        return f"trained by gradients, because {key} {reason}"
    given = [f"training.{name}" for name in GRADIENT_SETTINGS if name in config.training.model_fields_set]
    if given:
        return (
            f"trained by gradients, because {' and '.join(given[:MAX_NAMED])} {'is' if len(given) == 1 else 'are'} set"
        )
    return "trained by gradients, because training.solver is gradient"


def exact_obstacles(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each setting with which the head cannot be solved exactly, with the reason."""
    head, training, augmentation = config.head, config.training, config.augmentation
    if config.mode != "feature-extraction":
        yield "mode", "trains more than the head"
    if head.layers:
        yield "head.layers", "makes the head more than one linear layer"
    if head.l1:
        yield "head.l1", "makes the problem not smooth"
    if training.l1:
        yield "training.l1", "makes the problem not smooth"
    if training.loss == CROSS_ENTROPY:
        pass
    elif training.loss not in ("hinge", "squared-error"):
        yield "training.loss", "is neither cross-entropy nor hinge nor squared-error"
    elif head.activation != "linear":
        yield "head.activation", f"makes {training.loss} of the outputs not convex"
    if config.has_adapter:
        yield "backbone.adapter", "is trained below the backbone"
    if augmentation.mixes:
        yield f"augmentation.{'mixup' if augmentation.mixup else 'cutmix'}", "makes new labels in every epoch"
    elif augmentation.is_active and augmentation.views == "fresh":
        yield "augmentation.views", "makes new views in every epoch, which are not cached"
