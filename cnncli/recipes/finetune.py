"""`cnncli finetune`: continue a finished run in a new run that trains more of its backbone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cnncli.config.modes import FINE_TUNING_EPOCHS, fine_tuning_stage, stages_of
from cnncli.config.overrides import variable_notes
from cnncli.config.reader import cache_settings, load_resolved
from cnncli.config.schema import MAX_NAME_LENGTH, Config
from cnncli.config.training_settings import StageConfig
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.verification import require_unchanged
from cnncli.errors import ConfigError, Message, printable
from cnncli.inference.predictor import load_spec
from cnncli.metrics.classification import table_metrics
from cnncli.networks.backend import import_keras_meanwhile, standard_settings
from cnncli.networks.classifier import Classifier, build_classifier, load_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.fingerprint import hash_weights
from cnncli.recipes.train import Run, conclude, train_run
from cnncli.runs.documents import damaged
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.runs.log import remembering
from cnncli.runs.tracking import require_tracking
from cnncli.storage.cache_dir import make_cache_dir
from cnncli.terminal.console import Console
from cnncli.training.context import TrainingContext, check_stages
from cnncli.training.session import new_run
from cnncli.training.stage_report import StagePlan

SUFFIX = "-finetuned"
IMAGES_REMEDY = "use `cnncli train` to start a new run with the current images"

log = logging.getLogger(__name__)


EXPECTED = {
    "unfreeze": "a number of layers, a layer's name or all",
    "epochs": "an integer of at least 1",
    "learning_rate": "a number above 0",
}
"""Values that the settings can have."""


@dataclass(frozen=True)
class FinetuneSettings:
    """Settings that can differ from the parent's, as in `cnncli.finetune`; None for the default."""

    unfreeze: int | str | None = None
    epochs: int | None = None
    learning_rate: float | None = None


@remembering()
@standard_settings()
def finetune(
    parent: RunFolder,
    settings: FinetuneSettings,
    runs_dir: Path,
    console: Console,
    show: Callable[[Run], None] | None = None,
) -> Run:
    """Continue a finished run in a new one. The parent's weights count as epoch 0 and can remain the best.

    `show` is called with the finished run before its figures are drawn and it is verified.

    Raises:
        CacheError: The cache directory cannot be created.
        RunError: The parent is unfinished or damaged.
        DataError: All images of the parent that are missing or have changed, before anything is written.
        ConfigError: All invalid values of the stage, or unknown layers, before anything is written.
        ParityError: The saved classifier does not give the results that were reported; the run is `failed`.
    """
    started = time.monotonic()
    make_cache_dir()
    for note in variable_notes():
        log.warning(note)
    parent_metrics = validation_metrics(parent)
    config = _child_config(parent, settings)
    require_tracking(config, runs_dir)
    import_keras_meanwhile()
    console.phase("network", f"{config.networks} of {printable(parent.path.name)}")
    classifier = parent_classifier(parent)
    check_stages(classifier, config)
    manifest = Manifest.from_csv(parent.manifest)
    require_unchanged(manifest.rows, config.data, IMAGES_REMEDY, console)
    context = TrainingContext.for_this_machine(config, manifest, console)
    with new_run(context, runs_dir, hash_weights(classifier.model.layers), parent.path) as folder:
        run = train_run(folder, classifier, context, started, parent_metrics)
    return conclude(run, show)


def plan(parent: RunFolder, settings: FinetuneSettings) -> StagePlan:
    """Return what `finetune` would train: layers, parameters, and the shapes at the cut."""
    config = _child_config(parent, settings)
    classifier = parent_classifier(parent)
    (stage,) = stages_of(config)
    cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
    return StagePlan.of(stage, classifier, cut)


def starting_point(facts: Mapping[str, Any], context: TrainingContext) -> tuple[Classifier, dict[str, float] | None]:
    """Return the classifier with which a run starts, and the validation metrics of its parent, if it has one."""
    if not facts.get("parent"):
        return build_classifier(context.config, len(context.manifest.classes)), None
    parent = RunFolder(Path(facts["parent"]))
    return parent_classifier(parent), validation_metrics(parent)


def parent_classifier(parent: RunFolder) -> Classifier:
    """Load the classifier whose weights are the initial weights of fine-tuning."""
    return load_classifier(parent.model, load_spec(parent.engine).pretrained)


def validation_metrics(run: RunFolder) -> dict[str, float]:
    """Return the validation metrics of a finished run by name; empty if they could not be computed.

    Raises:
        RunError: The metrics in run.json are damaged.
    """
    try:
        return table_metrics((run.read_facts().get("metrics") or {}).get("validation") or {})
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise damaged(run.facts, 'invalid "metrics"') from error


def _child_config(parent: RunFolder, settings: FinetuneSettings) -> Config:
    """Return the parent's config with a single stage."""
    require_finished(parent)
    config = load_resolved(parent.config)
    if len(config.backbones) > 1:
        text = f"backbone: the run has several backbones ({config.networks}), which stay frozen."
        remedy = "Fine-tune a run with one of them."
        raise ConfigError(Message("config-contradiction-fusion", f"{text} {remedy}", key="backbone"))
    if config.evaluation.tta != "none":
        key, received = "evaluation.tta", config.evaluation.tta
        text = f"{key}: the run averages features of a frozen backbone ({received}), so its backbone cannot be trained."
        raise ConfigError(Message("config-contradiction-tta", f"{text} Train a parent without it.", key=key))
    name = f"{config.name[: MAX_NAME_LENGTH - len(SUFFIX)]}{SUFFIX}" if config.name else None
    training = {**dict(config.training), "solver": "gradient", "stages": (_stage(config, settings),)}
    changed = {"mode": "fine-tuning", "training": training, "name": name, "cache": cache_settings(config.cache)}
    return Config.model_validate({**dict(config), **changed})


def _stage(config: Config, settings: FinetuneSettings) -> StageConfig:
    """Return the stage of a child: the second of mode fine-tuning, or like the last stage of a fine-tuned parent."""
    default, last = fine_tuning_stage(config), stages_of(config)[-1]
    is_tuned = config.mode == "fine-tuning" or (config.mode == "feature-extraction" and last.unfreeze != 0)
    optimizer = (last if is_tuned else default).optimizer.model_dump()
    if settings.learning_rate is not None:
        optimizer["learning_rate"] = settings.learning_rate
    values = {
        "name": default.name,
        "unfreeze": default.unfreeze if settings.unfreeze is None else settings.unfreeze,
        "epochs": FINE_TUNING_EPOCHS if settings.epochs is None else settings.epochs,
        "optimizer": optimizer,
    }
    try:
        return StageConfig.model_validate(values)
    except ValidationError as error:
        wrong = {name for problem in error.errors() for name in problem["loc"]}
        raise ConfigError([_invalid(name, value) for name, value in vars(settings).items() if name in wrong]) from None


def _invalid(name: str, value: object) -> Message:
    text = f"{name}: received {value!r}, expected {EXPECTED[name]}."
    return Message("usage-finetune-value", text, key=name, received=value, expected=EXPECTED[name])
