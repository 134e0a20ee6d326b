"""`cnncli train`: train a config."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnncli.augmentation.settings import augmentation_notes
from cnncli.config.notes import notes_of
from cnncli.config.overrides import variable_notes
from cnncli.config.reader import load_resolved
from cnncli.config.schema import Config
from cnncli.config.solver import describe_solver
from cnncli.dataset.build import index_images
from cnncli.engines.build import graphs_in_use
from cnncli.engines.engine import EngineChoice
from cnncli.errors import DataError, Message, printable
from cnncli.evaluation.cross_validation import Pool, cross_validate
from cnncli.features.extract import Counts
from cnncli.inference.evaluate_rows import load_metrics, save_metrics
from cnncli.inference.saved_run import SavedRunEvaluation, evaluate_saved_run, save_model, save_solved_model
from cnncli.metrics.classification import Metrics
from cnncli.metrics.table import kept_epoch
from cnncli.networks.backend import import_keras_meanwhile, standard_settings
from cnncli.networks.classifier import Classifier, build_classifier
from cnncli.networks.cut import countable_layers
from cnncli.networks.fingerprint import hash_weights
from cnncli.networks.template import has_templates
from cnncli.recipes.report import write_report
from cnncli.recipes.track import tracking_results
from cnncli.recipes.verify import verifying
from cnncli.report.curves import draw_curves, draw_strengths
from cnncli.report.evaluation_figures import draw_evaluation
from cnncli.report.inspection import draw_inspection
from cnncli.report.run_report import RunReport
from cnncli.runs.documents import damaged
from cnncli.runs.folder import RunFolder, end_run, locked, update_facts
from cnncli.runs.inspection import read_inspection
from cnncli.runs.log import remembering
from cnncli.runs.records import RunWriter, read_history
from cnncli.runs.tracking import require_tracking
from cnncli.storage.atomic import write_atomically
from cnncli.storage.cache_dir import GRAPHS, make_cache_dir
from cnncli.storage.safe_io import read_json
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import decimal, percent, percent_range
from cnncli.training.advice import advise, compare_with_parent
from cnncli.training.batch_size import resolve_batch_size
from cnncli.training.context import BuiltTrunk, TrainingContext, check_stages, has_divided_stage
from cnncli.training.exact_head import FrozenNetwork, solve
from cnncli.training.machines import HERE, Machines
from cnncli.training.session import new_run, training_session
from cnncli.training.solvers.problem import Strength
from cnncli.training.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: The run directory.
        metrics: Metrics of the validation and test splits that exist.
        seconds: Duration of the command until the results were saved.
        features: Numbers of features, or decoded images, that were computed and found in the cache.
        layers: Number of backbone layers that `unfreeze` counts; 0 if all of them were trained or
            images are gone, so that fine-tuning is impossible, or if unknown.
        template: Folder of the template from which the saved classifier was made, if its head was solved.
        concluding_s: Duration of verification and figures after that.
    """

    folder: RunFolder
    metrics: Mapping[str, Metrics]
    seconds: float
    features: Counts
    layers: int
    template: Path | None = None
    concluding_s: float = 0.0

    @classmethod
    def load(cls, folder: RunFolder) -> Run:
        """Load a finished run from its files.

        Raises:
            RunError: Its metrics or its time cannot be read.
        """
        if not folder.metrics.is_file():
            raise damaged(folder.metrics, "is missing")
        metrics = load_metrics(folder)
        try:
            seconds = float(folder.read_facts()["seconds"])
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(folder.facts, f"has no time ({error})") from error
        return cls(folder, metrics, seconds, Counts(), layers=0)

    @property
    def path(self) -> Path:
        """Absolute path of the run directory."""
        return self.folder.path

    def __fspath__(self) -> str:
        return str(self.path)

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `train --json`."""
        return {
            "run": str(self.path),
            "metrics": {split: metrics.summary() for split, metrics in self.metrics.items()},
            "seconds": round(self.seconds, 3),
            "features": {"computed": self.features.computed, "reused": self.features.reused},
        }


@remembering()
@standard_settings()
def train(
    config: Config,
    runs_dir: Path,
    console: Console,
    show: Callable[[Run], None] | None = None,
    *,
    is_trial: bool = False,
    machines: Machines = HERE,
) -> Run:
    """Train the stages of a config in a new run, or solve its head exactly, and evaluate the result.

    `show` is called with the finished run before its figures are drawn, which takes longer than solving a head. A
    trial, one of many runs, gets no figures of its evaluation and is not verified. `machines` compute the features of
    training and validation images, and train stages with convolutions.

    Raises:
        CacheError: The cache directory cannot be created.
        DataError: All problems of the images, before anything is written.
        WeightsError: The backbone's weights cannot be downloaded, read or matched, before anything is written.
        TrainingError: Training produced no usable weights; the run is `failed`.
        ParityError: The saved classifier does not give the results that were reported; the run is `failed`.
        RunError: MLflow, which the config asks for, cannot be reached, before anything is written.
    """
    started = time.monotonic()
    graphs = make_cache_dir() / GRAPHS
    require_tracking(config, runs_dir)
    for note in (*variable_notes(), *notes_of(config), *augmentation_notes(config.augmentation)):
        log.warning(note)
    is_exact = config.training.solver == "exact"
    if not (is_exact and has_templates(graphs, config)):
        import_keras_meanwhile()
    manifest = index_images(config, console)
    config = resolve_batch_size(config, len(manifest.classes), len(manifest.split("train")), console)
    networks = (f"{backbone.network.name}, weights {backbone.weights}" for backbone in config.backbones)
    console.phase("network", " + ".join(networks))
    console.phase("head", describe_solver(config))
    context = TrainingContext.for_this_machine(config, manifest, console, machines)
    with graphs_in_use(context.graphs):  # before a graph or a template is looked for
        run = _new_exact_run(context, runs_dir, started) if is_exact else _new_trained_run(context, runs_dir, started)
    if is_trial:
        with tracking_results(run.folder):
            draw_figures(run.folder, with_evaluation=False)
        return run
    return conclude(run, show)


def _new_exact_run(context: TrainingContext, runs_dir: Path, started: float) -> Run:
    """Solve the head in a new run."""
    frozen = FrozenNetwork.of(context)
    with new_run(context, runs_dir, frozen.template.frozen_sha256) as folder:
        return solve_run(folder, frozen, started)


def _new_trained_run(context: TrainingContext, runs_dir: Path, started: float) -> Run:
    """Train the stages in a new run."""
    classifier = build_classifier(context.config, len(context.manifest.classes))
    check_stages(classifier, context.config)
    with new_run(context, runs_dir, hash_weights(classifier.model.layers)) as folder:
        return train_run(folder, classifier, context, started)


def conclude(run: Run, show: Callable[[Run], None] | None = None) -> Run:
    """Show a finished run, then draw its figures while new processes verify it, and return it with the time of this.

    Until this ends, run.json says that the run is not concluded, so that `train RUN` can do it again after a kill.

    Raises:
        ParityError: The saved classifier does not give the results that were reported; the run is then failed.
        RunError: Another process concludes the run.
    """
    with locked(run.folder):
        update_facts(run.folder, {"concluded": False, "verified": None})
        if show:
            show(run)
        started = time.monotonic()
        with tracking_results(run.folder), verifying(run.folder, run.metrics, run.template):
            draw_figures(run.folder)
        update_facts(run.folder, {"concluded": True})
    return replace(run, concluding_s=time.monotonic() - started)


def solve_run(run: RunFolder, frozen: FrozenNetwork, started: float) -> Run:
    """Solve the head of a run, save the classifier, and evaluate the saved files, as `train_run` does.

    Raises:
        TrainingError: The features are NaN or Inf.
        RunError: The run cannot be written.
        KeyboardInterrupt, Terminated: By a signal, after a message on how to resume.
    """
    context = frozen.context
    with training_session(run, context) as writer:
        solved = solve(frozen, writer)
        save_solved_model(run, context, frozen, solved.head)
        _cross_validate(run, frozen)
        evaluation = evaluate_saved_run(run, context, frozen.feature_sets(), may_store=True)
        engine = frozen.extraction.engine
        choice = engine.choice if engine else context.choice
        facts = {**_engine_facts(choice, "float32", frozen.trunks), "best_epoch": 1}
        seconds = time.monotonic() - started
        _finish(writer, evaluation, seconds, facts)
    if evaluation.error is not None:
        raise evaluation.error
    template, counts = frozen.template, solved.features + evaluation.features
    return Run(run, evaluation.metrics, seconds, counts, template.n_countable, template.folder)


def _cross_validate(run: RunFolder, frozen: FrozenNetwork) -> None:
    """Cross-validate the head of a run if its config has `data.folds`, and write the results."""
    config = frozen.context.config
    if config.data.folds is None:
        return
    try:
        found = cross_validate(Pool.load(frozen), config.data.folds, [config.seed])
    except DataError as error:  # too few images
        log.warning(error.problems[0])
        return
    write_atomically(run.crossval, json.dumps(found.to_dict(), indent=2) + "\n")
    accuracy = f"accuracy {percent(found.accuracy)} ({percent_range(*found.ci95)}), loss {decimal(found.loss)}"
    frozen.context.console.phase("crossval", f"{found.n_folds} folds of {found.n:,} images · {accuracy}")


def train_run(
    run: RunFolder,
    classifier: Classifier,
    context: TrainingContext,
    started: float,
    parent_metrics: Mapping[str, float] | None = None,
) -> Run:
    """Train a run from its newest checkpoint or its start, save the classifier, and evaluate the saved files.

    The run is finished once the classifier is saved; an error of its evaluation is raised after that.

    Args:
        run: A run whose lock this process holds.
        classifier: The classifier with the initial weights of the run.
        context: Config, images, engine and cache.
        started: `time.monotonic()` at the start of the command.
        parent_metrics: Validation metrics of the parent run, if there is one.

    Raises:
        RunError: A checkpoint cannot be written.
        ClusterError: The machines that train it failed.
        KeyboardInterrupt, Terminated: By a signal, after a message on how to resume.
    """
    config = context.config
    with training_session(run, context) as writer:
        if (train_elsewhere := context.machines.train) and has_divided_stage(classifier, config):
            train_elsewhere(run, config)
        outcome = Trainer(classifier, context, writer, parent_metrics).train()
        last = outcome.last
        save_model(run, classifier, context, outcome)
        evaluation = evaluate_saved_run(run, context, last.feature_sets(), may_store=last.cached == "features")
        diagnosis = advise(outcome, config, context.stages)
        if parent_metrics and "validation" in evaluation.metrics:
            monitor = config.training.best.monitor
            compare_with_parent(parent_metrics, outcome.best.epoch, evaluation.metrics["validation"], monitor)
        seconds = time.monotonic() - started
        facts = {"best_epoch": outcome.best.epoch, "diagnosis": vars(diagnosis)}
        checkpoint_s = round(writer.checkpoint_s, 3)
        engine_facts = _engine_facts(last.choice, last.precision, last.trunks)
        facts = {**engine_facts, **facts, "checkpoint_seconds": checkpoint_s}
        _finish(writer, evaluation, seconds, facts)
        writer.checkpoints.keep_newest()
    if evaluation.error is not None:
        raise evaluation.error
    layers = len(countable_layers(classifier)) if last.cut.trunk else 0
    return Run(run, evaluation.metrics, seconds, outcome.features + evaluation.features, layers)


def draw_figures(run: RunFolder, *, with_evaluation: bool = True) -> None:
    """Draw the curves of a finished run, or the strengths of its head; with its evaluation, also write its report."""
    try:
        run.figures.mkdir(exist_ok=True)
        history, stages, config = read_history(run.history), read_json(run.stages), load_resolved(run.config)
        if (solution := stages[-1].get("solution")) is None:
            best = int(run.read_facts()["best_epoch"])
            draw_curves(history, run.curves, best, kept_epoch(config.training.best.monitor))
        elif solution["strengths"]:
            draw_strengths([Strength(**strength) for strength in solution["strengths"]], run.curves)
        if run.inspection.is_file():
            draw_inspection(read_inspection(run.inspection), run.inspection_figure)
        if with_evaluation:
            report = RunReport.load(run)
            if report.found and report.pixels:
                draw_evaluation(report.found, report.pixels, run.path.name, run.figures)
            write_report(run, report)
    except Exception as error:  # a failed plot must not fail the run
        reason = printable(f"{type(error).__name__}: {error}")
        text = f"The figures could not be drawn ({reason})."
        log.warning(Message("training-curves-not-drawn", text, path=run.curves, reason=reason))


def _engine_facts(choice: EngineChoice, training_precision: str, trunks: Sequence[BuiltTrunk]) -> dict[str, Any]:
    precisions = dict.fromkeys(trunk.trunk.engine.choice.precision for trunk in trunks) or [choice.precision]
    precision = " and ".join(precisions)
    facts = {"engine": choice.engine, "precision": precision, "training_precision": training_precision}
    quantized = [trunk.quantized.facts() for trunk in trunks if trunk.quantized]
    return facts | ({"int8": quantized if len(trunks) > 1 else quantized[0]} if quantized else {})


def _finish(writer: RunWriter, evaluation: SavedRunEvaluation, seconds: float, facts: Mapping[str, Any]) -> None:
    save_metrics(writer.run, evaluation.metrics)
    end_run(
        writer.run,
        "finished",
        {
            **facts,
            "metrics": {split: metrics.summary() for split, metrics in evaluation.metrics.items()},
            "seconds": round(seconds, 3),
            **({"reason": evaluation.error.problems[0]} if evaluation.error else {}),
        },
    )
