"""`cnncli finetune`: a finished run goes on in a new one, with more of its backbone trained."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from cnncli.config.modes import FINE_TUNING_EPOCHS, FINE_TUNING_LEARNING_RATE_FACTOR, stages_of
from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config, StageConfig
from cnncli.console import Console
from cnncli.engines.scorer import read_recipe
from cnncli.networks.classifier import Classifier, load_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.pictures.manifest import Manifest
from cnncli.recipes.fit import Fit, fit
from cnncli.recipes.result import Run
from cnncli.runs.folder import RunFolder, require_finished
from cnncli.training.ledger import StagePlan, plan_of

STAGE = "fine-tune"


@dataclass(frozen=True)
class FinetuneSettings:
    """What may differ from the parent; None: the default of the mode fine-tuning."""

    unfreeze: int | str | None = None
    epochs: int | None = None
    learning_rate: float | None = None


def finetune(parent: RunFolder, settings: FinetuneSettings, runs_dir: Path, console: Console) -> Run:
    """Continue a finished run in a new one that names it.

    The new run starts a competition for the best epoch of its own; the parent's score is shown beside it, with a
    warning where the new one is worse.

    Raises:
        RunError: the parent is not finished.
        CutError: no such layer, or not as many.
    """
    started = time.monotonic()
    config = _child_config(parent, settings)
    manifest = Manifest.from_csv(parent.manifest)
    classifier = _classifier(parent)
    run = fit(Fit(config, manifest, classifier, stages_of(config), runs_dir, parent.path, started), console)
    _compare(parent, run, console)
    return run


def plan(parent: RunFolder, settings: FinetuneSettings) -> StagePlan:
    """What `finetune` would train: layers, parameters, and the shapes that cross the cut."""
    config, classifier = _child_config(parent, settings), _classifier(parent)
    (stage,) = stages_of(config)
    cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
    return plan_of(stage.name, stage.unfreeze, classifier, cut)


def _classifier(parent: RunFolder) -> Classifier:
    return load_classifier(parent.model, read_recipe(parent.engine).pretrained)


def _child_config(parent: RunFolder, settings: FinetuneSettings) -> Config:
    """The parent's config with one stage of its own."""
    require_finished(parent)
    config = load_resolved(parent.config)
    optimizer = config.training.optimizer
    rate = settings.learning_rate or optimizer.learning_rate * FINE_TUNING_LEARNING_RATE_FACTOR
    stage = StageConfig(
        name=STAGE,
        unfreeze=config.training.unfreeze if settings.unfreeze is None else settings.unfreeze,
        epochs=settings.epochs or FINE_TUNING_EPOCHS,
        optimizer=optimizer.model_copy(update={"learning_rate": rate}),
    )
    training = config.training.model_copy(update={"stages": (stage,)})
    name = f"{config.name}-finetuned" if config.name else None
    return config.model_copy(update={"mode": "fine-tuning", "training": training, "name": name})


def _compare(parent: RunFolder, run: Run, console: Console) -> None:
    """Say how the new run stands beside its parent on the validation pictures."""
    before = (parent.read_facts().get("metrics") or {}).get("validation")
    if before is None:
        return
    after = run.metrics["validation"]
    text = (
        f"validation accuracy {after.top1:.1%} (parent {before['top1']:.1%}), "
        f"loss {after.loss:.4f} (parent {before['loss']:.4f})"
    )
    if after.loss > before["loss"] and after.top1 <= before["top1"]:
        console.warn(f"worse than its parent: {text}. A lower --learning-rate or a smaller --unfreeze may help.")
    else:
        console.say(f"beside its parent: {text}")
