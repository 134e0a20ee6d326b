"""What `train` and `finetune` share: from a classifier and its stages to a finished run."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from cnncli.config.modes import Stage, run_name
from cnncli.config.schema import Config
from cnncli.config.writer import dump_config
from cnncli.dataset.manifest import Manifest
from cnncli.engines.choice import choose_engine
from cnncli.engines.engine import EngineChoice
from cnncli.errors import CnncliError, TrainingError, printable
from cnncli.features.extract import Counts
from cnncli.features.store import FeatureStore
from cnncli.inference.evaluate_rows import score_rows
from cnncli.inference.predictor import ScoringRecipe, load_scorer, save_scorer
from cnncli.metrics.classification import Metrics
from cnncli.networks.backend import gpus
from cnncli.networks.classifier import Classifier, image_size, save_classifier
from cnncli.networks.cut import countable_layers
from cnncli.networks.fingerprint import hash_weights
from cnncli.recipes.cache import FEATURES, GRAPHS, graphs_in_use
from cnncli.recipes.result import Run, brief, shortest
from cnncli.report.curves import draw_curves
from cnncli.runs.access import locked
from cnncli.runs.checkpoints import Checkpoints
from cnncli.runs.folder import RunFolder, create_run, finish_run
from cnncli.runs.log import recording
from cnncli.runs.records import History, HistoryRow
from cnncli.runtime.environment import environment
from cnncli.runtime.memory import bounded
from cnncli.runtime.signals import Terminated, mark_reported, unwrapped
from cnncli.storage.atomic import write_atomically
from cnncli.storage.cache_dir import cache_dir
from cnncli.terminal.console import Console
from cnncli.training.context import Workshop, check_stages
from cnncli.training.inputs import Supply
from cnncli.training.stage_report import LEDGER_COLUMNS, LedgerEntry, ledger_cells
from cnncli.training.steps import Scores
from cnncli.training.trainer import Outcome, train_stages


@dataclass(frozen=True)
class Fit:
    """What a run trains.

    Attributes:
        config: resolved.
        manifest: its images.
        classifier: with the weights it starts from.
        stages: to be trained, in order.
        started: `time.monotonic()` when the user's command began.
        handed: validation scores of these weights as the parent measured them, if there is one.
    """

    config: Config
    manifest: Manifest
    classifier: Classifier
    stages: Sequence[Stage]
    started: float
    handed: Scores | None = None


def fit(task: Fit, runs_dir: Path, parent: Path | None, console: Console) -> Run:
    """Train the stages in a new run, save the classifier, and score it from what was saved.

    Args:
        task: what is trained.
        runs_dir: where the run appears.
        parent: the run it continues, if any.
        console: shows what happens.
    """
    shop = build_workshop(task.config, task.manifest, console)
    check_stages(task.classifier, task.stages, needs_pixels=task.config.augmentation.cutmix > 0)
    with graphs_in_use(cache_dir()):  # first, since it may be out of order: a run that appears is one that trains
        run = _create(task, shop, runs_dir, parent)
        with locked(run):
            return carry_on(run, task, shop)


def carry_on(run: RunFolder, task: Fit, shop: Workshop) -> Run:
    """Train a run, which is locked, from where its checkpoints say, or from its beginning, and finish it.

    Once the classifier is saved the run will be finished: where its scoring fails, the error is raised after that.

    Raises:
        RunError: a checkpoint cannot be written.
        KeyboardInterrupt, Terminated: by a signal, after a line that says how to go on.
    """
    with (
        recording(run),
        telling_how_to_go_on(run, shop.console),
        shop.store,
        graphs_in_use(cache_dir()),
        nullcontext() if gpus() else bounded(),
        Records(run) as records,
        unwrapped(),
    ):
        checkpoints = Checkpoints(run.state)
        outcome = train_stages(task.classifier, task.stages, shop, records, task.handed, checkpoints)
        shop.console.table(LEDGER_COLUMNS, [ledger_cells(entry) for entry in outcome.ledger], "stages")
        _save(run, task, shop, outcome)
        scored = _score(run, task.manifest, shop, outcome.supply)
        _draw(run, records.history, outcome, shop.console)
        after = scored.metrics.get("validation")
        if task.handed is not None and after is not None:
            compare_with_parent(task.handed, after, task.config.training.best.monitor, shop.console)
        seconds = time.monotonic() - task.started
        _finish(run, outcome, scored, seconds)
        checkpoints.keep_newest()
    if scored.error is not None:
        raise scored.error
    layers = len(countable_layers(task.classifier)) if outcome.last.cut.trunk else 0
    return Run(run, scored.metrics, seconds, outcome.features + scored.counts, layers)


def compare_with_parent(before: Scores, after: Metrics, monitor: str, console: Console) -> None:
    """Say how the new run stands beside its parent on the validation images, by what its best epoch is chosen by."""
    text = (
        f"validation accuracy {after.top1:.1%} (parent {before.accuracy:.1%}), "
        f"loss {after.loss:.4f} (parent {before.loss:.4f})"
    )
    worse = after.top1 < before.accuracy if monitor == "val_accuracy" else after.loss > before.loss
    if worse:
        console.warn(f"worse than its parent: {text}. A lower --learning-rate or a smaller --unfreeze may help.")
    else:
        console.say(f"beside its parent: {text}")


@contextmanager
def telling_how_to_go_on(run: RunFolder, console: Console) -> Iterator[None]:
    """Say the command that resumes a run, where a signal stops what happens inside the block."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        console.warn(f"stopped; `cnncli train {_quoted(run)}` goes on from here")
        mark_reported(stop)
        raise
    except TrainingError:
        raise  # it would end the same way again
    except (CnncliError, OSError):
        console.warn(f"once that is mended, `cnncli train {_quoted(run)}` goes on from here")
        raise


def _quoted(run: RunFolder) -> str:
    return printable(shlex.quote(str(shortest(run.path))))


class Records:
    """Writes history, TensorBoard's logs and the ledger of a run as its training goes on."""

    def __init__(self, run: RunFolder) -> None:
        self.history = History(run)
        self._path = run.ledger
        self._entries: list[LedgerEntry] = []

    def add(self, row: HistoryRow) -> None:
        """See `Recorder.add`."""
        self.history.add(row)

    def end_stage(self, entry: LedgerEntry) -> None:
        """See `Recorder.end_stage`."""
        self._entries.append(entry)
        self._write()

    def begin_with(self, rows: Sequence[HistoryRow], ledger: Sequence[LedgerEntry]) -> None:
        """See `Recorder.begin_with`."""
        self.history.begin_with(rows)
        self._entries = list(ledger)
        self._write()

    def _write(self) -> None:
        write_atomically(self._path, json.dumps([entry.to_dict() for entry in self._entries], indent=2) + "\n")

    def __enter__(self) -> Records:
        self.history.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.history.__exit__(kind, error, trace)


def build_workshop(config: Config, manifest: Manifest, console: Console) -> Workshop:
    """What the stages of a config work with on this machine: its engine, and the store in the cache folder."""
    return Workshop(
        config=config,
        manifest=manifest,
        pixels=config.data.pixel_spec(image_size(config)),
        choice=choose_engine(config.engine, config.precision),
        store=FeatureStore(cache_dir() / FEATURES, config.cache.max_bytes),
        graphs=cache_dir() / GRAPHS,
        console=console,
    )


def _create(task: Fit, shop: Workshop, runs_dir: Path, parent: Path | None) -> RunFolder:
    config = task.config
    files = {
        "config.yaml": dump_config(config),
        "state/config.yaml": dump_config(config),
        "manifest.csv": task.manifest.csv_text(),
        "classes.json": json.dumps(list(task.manifest.classes), ensure_ascii=False, indent=1) + "\n",
        "environment.json": json.dumps(environment(), indent=2) + "\n",
    }
    if task.manifest.skipped:
        files["skipped.csv"] = task.manifest.skipped_text()
    if task.manifest.near:
        files["near_duplicates.csv"] = task.manifest.near_text()
    facts = {
        "mode": config.mode,
        "backbone": config.backbone.name,
        "began_on": shop.choice.in_words,
        "engine": shop.choice.engine,
        "precision": shop.choice.precision,
        "stages": [stage.name for stage in task.stages],
        "initial_weights_sha256": hash_weights(task.classifier.model.layers),
    }
    return create_run(runs_dir, run_name(config), files, parent, facts)


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
        value_range=data.range,
        tail_precision=division.precision,
        gpu=bool(gpus()),
        cut=division.cut.after,
    )
    save_classifier(task.classifier, run.model)
    shutil.rmtree(run.engine, ignore_errors=True)  # a run that was killed right here has one
    save_scorer(run.engine, recipe, division.cut, division.graph)


@dataclass(frozen=True)
class _Scored:
    """The figures of a run's splits, those that could be had, and what kept the others."""

    metrics: dict[str, Metrics]
    counts: Counts
    error: CnncliError | None = None


def _score(run: RunFolder, manifest: Manifest, shop: Workshop, supply: Supply) -> _Scored:
    """Score validation and test from the saved files; the test images are looked at here, once, and nowhere else.

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
                # What the last stage has stored of the validation images, it has counted.
                counts = counts + (Counts(more.computed, 0) if split == "validation" else more)
    except CnncliError as error:
        shop.console.warn(f"the model is saved, but not all of its figures could be had: {error.problems[0]}")
        return _Scored(metrics, counts, error)
    return _Scored(metrics, counts)


def _draw(run: RunFolder, history: History, outcome: Outcome, console: Console) -> None:
    try:
        run.curves.parent.mkdir(exist_ok=True)
        draw_curves(history.rows, run.curves, outcome.best.epoch)
    except Exception as error:  # whatever it is, a training is worth more than its image
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
            "checkpoint_seconds": round(outcome.saving_s, 3),
            **({"reason": scored.error.problems[0]} if scored.error else {}),
        },
    )
