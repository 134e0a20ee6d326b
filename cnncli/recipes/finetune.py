"""`cnncli finetune`: a finished run goes on in a new one, with more of its backbone trained."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cnncli.config.modes import FINE_TUNING_EPOCHS, fine_tuning_stage, stages_of
from cnncli.config.overrides import variable_notes
from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config, OptimizerConfig, StageConfig
from cnncli.dataset.manifest import Manifest
from cnncli.errors import ConfigError, RunError, printable
from cnncli.inference.predictor import read_recipe
from cnncli.networks.backend import import_keras_meanwhile
from cnncli.networks.classifier import Classifier, load_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.recipes.cache import cache_settings
from cnncli.recipes.fit import Fit, fit
from cnncli.recipes.images import require_unchanged
from cnncli.recipes.result import Run
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.runs.log import remembering
from cnncli.storage.cache_dir import make_cache_dir
from cnncli.terminal.console import Console
from cnncli.training.stage_report import StagePlan, plan_of
from cnncli.training.steps import Scores

SUFFIX = "-finetuned"
LONGEST_NAME = 100
REMEDY = "`cnncli train` begins anew with the images as they are now"
"""Where those of the parent have gone."""


@dataclass(frozen=True)
class FinetuneSettings:
    """What may differ from the parent; None: the default.

    Attributes:
        unfreeze: as in a stage of a config; default: the parent's `training.unfreeze`.
        epochs: at most; default: those of a second stage in mode fine-tuning.
        learning_rate: default: a tenth of the parent's `training.optimizer.learning_rate`; where the parent was
            fine-tuned itself, the rate of its last stage.

    Raises:
        ConfigError: values that no stage can have, a line each.
    """

    unfreeze: int | str | None = None
    epochs: int | None = None
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        problems = [
            f"{name}: received {value!r}, expected {expected}."
            for name, value, expected, valid in (
                ("unfreeze", self.unfreeze, "a number of layers, a layer's name or all", _stage_takes),
                ("epochs", self.epochs, "a whole number of at least 1", _stage_takes),
                ("learning_rate", self.learning_rate, "a number above 0", _optimizer_takes),
            )
            if value is not None and not valid(name, value)
        ]
        if problems:
            raise ConfigError(problems)


@remembering()
def finetune(parent: RunFolder, settings: FinetuneSettings, runs_dir: Path, console: Console) -> Run:
    """Continue a finished run in a new one that names it.

    The new run starts a competition for the best epoch of its own; the parent's score is shown beside it, with a
    warning where the new one is worse.

    Raises:
        CacheError: there can be no cache folder.
        RunError: the parent is not finished, or damaged.
        DataError: images of the parent that have gone or have changed, all of them, before anything is written.
        ConfigError: no such layer, or not as many, likewise before.
    """
    started = time.monotonic()
    make_cache_dir()
    for note in variable_notes():
        console.warn(note)
    before = validation_scores(parent)
    config = _child_config(parent, settings)
    import_keras_meanwhile()
    manifest = Manifest.from_csv(parent.manifest)
    require_unchanged(manifest.rows, config.data, REMEDY, console)
    console.phase("network", f"{config.backbone.name} of {printable(parent.path.name)}")
    task = Fit(config, manifest, parent_classifier(parent), stages_of(config), started, before)
    return fit(task, runs_dir, parent.path, console)


def plan(parent: RunFolder, settings: FinetuneSettings) -> StagePlan:
    """What `finetune` would train: layers, parameters, and the shapes that cross the cut."""
    config = _child_config(parent, settings)
    classifier = parent_classifier(parent)
    (stage,) = stages_of(config)
    cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
    return plan_of(stage.name, stage.unfreeze, classifier, cut)


def parent_classifier(parent: RunFolder) -> Classifier:
    """The classifier whose weights a fine-tuning starts from."""
    return load_classifier(parent.model, read_recipe(parent.engine).pretrained)


def _child_config(parent: RunFolder, settings: FinetuneSettings) -> Config:
    """The parent's config with one stage of its own."""
    require_finished(parent)
    config = load_resolved(parent.config)
    name = f"{config.name[: LONGEST_NAME - len(SUFFIX)]}{SUFFIX}" if config.name else None
    training = {**dict(config.training), "stages": (_stage(config, settings),)}
    changed = {"mode": "fine-tuning", "training": training, "name": name, "cache": cache_settings(config.cache)}
    return Config.model_validate({**dict(config), **changed})


def _stage(config: Config, settings: FinetuneSettings) -> StageConfig:
    usual, optimizer = fine_tuning_stage(config), _usual_optimizer(config)
    if settings.learning_rate is not None:
        optimizer = _with_learning_rate(optimizer, settings.learning_rate)
    return StageConfig(
        name=usual.name,
        unfreeze=usual.unfreeze if settings.unfreeze is None else settings.unfreeze,
        epochs=FINE_TUNING_EPOCHS if settings.epochs is None else settings.epochs,
        optimizer=optimizer,
    )


def _usual_optimizer(config: Config) -> OptimizerConfig:
    """That of a second stage in mode fine-tuning; of a run that was fine-tuned, what its last stage had."""
    last = stages_of(config)[-1]
    is_tuned = config.mode == "fine-tuning" or (config.mode == "feature-extraction" and last.unfreeze != 0)
    return last.optimizer if is_tuned else fine_tuning_stage(config).optimizer


def _with_learning_rate(optimizer: OptimizerConfig, rate: float) -> OptimizerConfig:
    return OptimizerConfig.model_validate({**optimizer.model_dump(), "learning_rate": rate})


def _stage_takes(name: str, value: object) -> bool:
    try:
        StageConfig.model_validate({"name": "any", name: value})
    except ValidationError:
        return False
    return True


def _optimizer_takes(name: str, value: object) -> bool:
    try:
        OptimizerConfig.model_validate({name: value})
    except ValidationError:
        return False
    return True


def validation_scores(run: RunFolder) -> Scores | None:
    """What a run's end found on its validation images; None where they could not be scored then.

    Raises: RunError: what run.json says there is damaged.
    """
    try:
        found = (run.read_facts().get("metrics") or {}).get("validation")
        return Scores(float(found["loss"]), float(found["top1"])) if found else None
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise RunError(f"{printable(run.path)}: run.json is damaged: its metrics are none") from error
