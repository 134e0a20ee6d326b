"""The end of training: save the classifier, and evaluate it from the saved files."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, dataclass, replace

from cnncli.config.modes import metrics_of
from cnncli.engines.engine import EngineChoice
from cnncli.errors import CnncliError, Message
from cnncli.features.extract import Counts
from cnncli.inference.evaluate_rows import compute_logits, evaluate_manifest
from cnncli.inference.predictor import load_predictor, save_predictor, save_thresholds
from cnncli.inference.spec import PredictorSpec
from cnncli.metrics.classification import Metrics, choose_thresholds
from cnncli.metrics.multilabel import DEFAULT_THRESHOLD
from cnncli.networks.backend import gpus
from cnncli.networks.classifier import Classifier, save_classifier
from cnncli.runs.folder import RunFolder
from cnncli.training.context import TrainingContext
from cnncli.training.trainer import Outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedRunEvaluation:
    """Metrics of the splits that could be evaluated, features used, and the error that prevented evaluating a split."""

    metrics: dict[str, Metrics]
    features: Counts
    error: CnncliError | None = None


def save_model(run: RunFolder, classifier: Classifier, context: TrainingContext, outcome: Outcome) -> None:
    """Save a classifier as a Keras model, and as graphs for its engine."""
    last, manifest = outcome.last, context.manifest
    engine = last.extraction.engine
    choice = engine.choice if engine else EngineChoice(context.choice.engine, last.precision)
    spec = PredictorSpec(
        engine=choice.engine,
        precision=choice.precision,
        tail_engine=choice.engine,
        trunk=last.extraction.trunk,
        unfreeze=last.stage.unfreeze,
        batch_norm=last.stage.batch_norm,
        pretrained=classifier.pretrained,
        activation=context.config.head.activation,
        classes=manifest.classes,
        **asdict(context.pixels),
        tail_precision=last.precision,
        gpu=bool(gpus()),
        cut=last.cut.after,
        loss=context.config.training.loss,
        metrics=metrics_of(context.config),
        thresholds=(DEFAULT_THRESHOLD,) * (len(manifest.classes) if manifest.is_multi_label else 0),
    )
    save_classifier(classifier, run.model)
    shutil.rmtree(run.engine, ignore_errors=True)  # left by a process that was killed here
    save_predictor(run.engine, spec, last.cut, last.converted)


def evaluate_saved_run(run: RunFolder, context: TrainingContext, outcome: Outcome) -> SavedRunEvaluation:
    """Evaluate validation and test split from the saved files. The test images are used only here, once.

    The thresholds of a multi-label classifier are chosen on the validation images, and saved.

    If the last stage's features were not cached, those of the test images are not cached either, because they are
    needed only once and the cache would exceed its cap.
    """
    manifest, last = context.manifest, outcome.last
    metrics: dict[str, Metrics] = {}
    features = Counts()
    try:
        predictor = load_predictor(run.engine, run.model)
        for split in ("validation", "test"):
            if rows := manifest.split(split):
                logits, counts = compute_logits(
                    predictor,
                    rows,
                    context.store,
                    context.console,
                    network=context.config.backbone.network.name,
                    in_use=last.feature_sets(),
                    may_store=last.cached == "features",
                )
                if manifest.is_multi_label and split == "validation":
                    thresholds = choose_thresholds(logits, manifest.labels(rows))
                    save_thresholds(run.engine, thresholds)
                    predictor = replace(predictor, spec=replace(predictor.spec, thresholds=thresholds))
                metrics[split] = evaluate_manifest(predictor.spec, manifest, rows, logits)
                # The last stage has already counted the validation images' features.
                features = features + (Counts(counts.computed, 0) if split == "validation" else counts)
    except CnncliError as error:
        problem = error.problems[0]
        text = f"The model is saved, but not every split could be evaluated: {problem}"
        log.warning(Message("training-evaluation-incomplete", text, reason=problem))
        return SavedRunEvaluation(metrics, features, error)
    return SavedRunEvaluation(metrics, features)
