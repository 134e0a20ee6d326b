"""What `train` and `finetune` share: from a classifier and its stages to a finished run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnncli.config.modes import Stage, run_name
from cnncli.config.reader import dump_config
from cnncli.config.schema import Config
from cnncli.console import Console
from cnncli.engines.choice import choose_engine
from cnncli.engines.engine import EngineChoice
from cnncli.engines.scorer import ScoringRecipe, load_scorer, save_scorer
from cnncli.errors import CnncliError
from cnncli.evaluation.metrics import Metrics
from cnncli.features.extract import Counts
from cnncli.features.store import FeatureStore
from cnncli.folders import cache_dir
from cnncli.networks.backend import gpus
from cnncli.networks.classifier import Classifier, image_size, save_classifier
from cnncli.networks.cut import countable_layers
from cnncli.pictures.decode import PixelRecipe
from cnncli.pictures.manifest import Manifest
from cnncli.recipes.cache import FEATURES, GRAPHS, graphs_in_use
from cnncli.recipes.result import Run, brief
from cnncli.recipes.score import score_rows
from cnncli.report.curves import draw_curves
from cnncli.runs.environment import environment
from cnncli.runs.files import write_atomically
from cnncli.runs.folder import RunFolder, create_run, finish_run
from cnncli.runs.log import recording
from cnncli.runs.records import History
from cnncli.training.ledger import LEDGER_COLUMNS, LedgerEntry, ledger_cells
from cnncli.training.loop import Scores
from cnncli.training.session import Outcome, train_stages
from cnncli.training.supply import Supply
from cnncli.training.workshop import Workshop, check_stages


@dataclass(frozen=True)
class Fit:
    """What a run is made of, before it exists.

    Attributes:
        config: resolved.
        manifest: its pictures.
        classifier: with the weights it starts from.
        stages: to be trained, in order.
        runs_dir: where the run appears.
        parent: the run it continues, if any.
        started: `time.monotonic()` when the user's command began.
        handed: validation scores of these weights as the parent measured them, if there is one.
    """

    config: Config
    manifest: Manifest
    classifier: Classifier
    stages: Sequence[Stage]
    runs_dir: Path
    parent: Path | None
    started: float
    handed: Scores | None = None


def fit(task: Fit, console: Console) -> Run:
    """Train the stages, save the classifier, and score it from what was saved.

    Once the classifier is saved the run will be finished: where its scoring fails, the error is raised after that.
    """
    shop = build_workshop(task.config, task.manifest, console)
    check_stages(task.classifier, task.stages, needs_pixels=task.config.augmentation.cutmix > 0)
    # First the cache, which may be out of order: a run that appears is one that trains.
    with graphs_in_use(cache_dir()):
        run = _create(task, shop)
        with recording(run), shop.store:
            with History(run) as history:
                outcome = train_stages(
                    task.classifier, task.stages, shop, history, handed=task.handed, keep=_ledger_keeper(run)
                )
            console.table(LEDGER_COLUMNS, [ledger_cells(entry) for entry in outcome.ledger], "stages")
            _save(run, task, shop, outcome)
            scored = _score(run, task.manifest, shop, outcome.supply)
            _draw(run, history, outcome, console)
            seconds = time.monotonic() - task.started
            _finish(run, outcome, scored, seconds)
    if scored.error is not None:
        raise scored.error
    layers = len(countable_layers(task.classifier)) if outcome.last.cut.trunk else 0
    return Run(run, scored.metrics, seconds, outcome.features + scored.counts, layers)


def _ledger_keeper(run: RunFolder) -> Callable[[LedgerEntry], None]:
    """What writes the ledger anew with each stage that ends."""
    entries: list[LedgerEntry] = []

    def keep(entry: LedgerEntry) -> None:
        entries.append(entry)
        write_atomically(run.ledger, json.dumps([one.to_dict() for one in entries], indent=2) + "\n")

    return keep


def build_workshop(config: Config, manifest: Manifest, console: Console) -> Workshop:
    """What the stages of a config work with on this machine: its engine, and the store in the cache folder."""
    return Workshop(
        config=config,
        manifest=manifest,
        pixels=PixelRecipe.from_config(config.data, image_size(config)),
        choice=choose_engine(config.engine, config.precision),
        store=FeatureStore(cache_dir() / FEATURES, config.cache.max_bytes, console.warn, console.say),
        graphs=cache_dir() / GRAPHS,
        console=console,
    )


def _create(task: Fit, shop: Workshop) -> RunFolder:
    config = task.config
    files = {
        "config.yaml": dump_config(config),
        "manifest.csv": task.manifest.csv_text(),
        "classes.json": json.dumps(list(task.manifest.classes), ensure_ascii=False, indent=1) + "\n",
        "environment.json": json.dumps(environment(), indent=2) + "\n",
    }
    if task.manifest.skipped:
        files["skipped.csv"] = task.manifest.skipped_text()
    facts = {
        "mode": config.mode,
        "backbone": config.backbone.name,
        "engine": shop.choice.engine,
        "precision": shop.choice.precision,
        "stages": [stage.name for stage in task.stages],
    }
    return create_run(task.runs_dir, run_name(config), files, task.parent, facts)


def _save(run: RunFolder, task: Fit, shop: Workshop, outcome: Outcome) -> None:
    division, data = outcome.last, shop.config.data
    choice = division.engine.choice if division.engine else EngineChoice(shop.choice.engine, division.precision)
    recipe = ScoringRecipe(
        engine=choice.engine,
        precision=choice.precision,
        tail_engine=choice.engine,
        trunk=division.fingerprint,
        unfreeze=division.stage.unfreeze,
        batch_norm=division.stage.batch_norm,
        pretrained=task.classifier.pretrained,
        activation=shop.config.head.activation,
        classes=shop.manifest.classes,
        height=shop.pixels.height,
        width=shop.pixels.width,
        color=data.color,
        fit=data.fit,
        max_pixels=data.max_pixels,
        tail_precision=division.precision,
        gpu=bool(gpus()),
        cut=division.cut.after,
    )
    save_classifier(task.classifier, run.model)
    save_scorer(run.engine, recipe, division.cut, division.graph)


@dataclass(frozen=True)
class _Scored:
    """The figures of a run's splits, those that could be had, and what kept the others."""

    metrics: dict[str, Metrics]
    counts: Counts
    error: CnncliError | None = None


def _score(run: RunFolder, manifest: Manifest, shop: Workshop, supply: Supply) -> _Scored:
    """Score validation and test from the saved files; the test pictures are looked at here, once, and nowhere else.

    Where the last stage's features were not to be stored, theirs are not either: that would be for this once, and what
    is in use would outgrow the store.
    """
    beside, may_store = supply.wanted(), supply.way == "features"
    metrics, counts = {}, Counts()
    try:
        scorer = load_scorer(run.engine, run.model)
        for split in ("validation", "test"):
            if rows := manifest.split(split):
                network = shop.config.backbone.name
                metrics[split], more = score_rows(
                    scorer, manifest, rows, shop.store, shop.console, network, beside, may_store
                )
                # What the last stage has stored of the validation pictures, it has counted.
                counts = counts + (Counts(more.computed, 0) if split == "validation" else more)
    except CnncliError as error:
        shop.console.warn(f"the model is saved, but not all of its figures could be had: {error.problems[0]}")
        return _Scored(metrics, counts, error)
    return _Scored(metrics, counts)


def _draw(run: RunFolder, history: History, outcome: Outcome, console: Console) -> None:
    try:
        run.curves.parent.mkdir(exist_ok=True)
        draw_curves(history.rows, run.curves, outcome.best.epoch)
    except Exception as error:  # whatever it is, a training is worth more than its picture
        console.warn(f"the curves could not be drawn ({type(error).__name__}: {error})")


def _finish(run: RunFolder, outcome: Outcome, scored: _Scored, seconds: float) -> None:
    document = {split: found.to_dict() for split, found in scored.metrics.items()}
    write_atomically(run.metrics, json.dumps(document, indent=2) + "\n")
    used = outcome.last.engine.choice if outcome.last.engine else EngineChoice("keras", outcome.last.precision)
    finish_run(
        run,
        {
            "engine": used.engine,
            "precision": used.precision,
            "training_precision": outcome.last.precision,
            "metrics": {split: brief(found) for split, found in scored.metrics.items()},
            "best_epoch": outcome.best.epoch,
            "seconds": round(seconds, 3),
            **({"reason": scored.error.problems[0]} if scored.error else {}),
        },
    )
