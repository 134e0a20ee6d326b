"""The end of training: save the classifier, and evaluate it from the saved files."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cnncli.config.modes import metrics_of
from cnncli.engines.engine import EngineChoice
from cnncli.engines.linear import LinearEngine
from cnncli.engines.openvino import OpenVinoEngine
from cnncli.errors import CnncliError, Message
from cnncli.evaluation.assessment import Assessment
from cnncli.evaluation.calibration import Calibration
from cnncli.evaluation.outputs import Outputs
from cnncli.features.extract import Counts, Extraction, FeatureSet
from cnncli.inference.evaluate_rows import assess, build_reference, compute_outputs, save_assessments
from cnncli.inference.predictor import (
    Predictor,
    load_predictor,
    save_calibration,
    save_predictor,
    save_thresholds,
)
from cnncli.inference.spec import PredictorSpec
from cnncli.metrics.classification import Metrics, choose_thresholds
from cnncli.metrics.multilabel import DEFAULT_THRESHOLD
from cnncli.networks.backend import gpus
from cnncli.networks.classifier import Classifier, save_classifier
from cnncli.networks.cut import Cut
from cnncli.networks.mixed_precision import is_convolutional
from cnncli.runs.folder import RunFolder
from cnncli.training.context import BuiltTrunk, TrainingContext
from cnncli.training.exact_head import FrozenNetwork
from cnncli.training.int8 import quantize_tail
from cnncli.training.solvers.problem import LinearHead
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
    last = outcome.last
    engine = last.extraction.engine
    choice = engine.choice if engine else EngineChoice(context.choice.engine, last.precision)
    spec = replace(
        _spec(context, choice, classifier.pretrained, last.extraction),
        tail_engine=choice.engine,
        tail_precision=last.precision,
        unfreeze=last.stage.unfreeze,
        batch_norm=last.stage.batch_norm,
    )
    save_classifier(classifier, run.model)
    quantized = [trunk.quantized for trunk in last.trunks if trunk.quantized]
    is_int8 = quantized[0].is_used if quantized else engine is None and context.config.precision == "int8"

    def quantize(graph: Path) -> bool:
        return quantize_tail(graph, OpenVinoEngine(graph, last.precision), engine, context)

    may_quantize = is_int8 and choice.engine == "openvino" and is_convolutional(last.cut.tail)
    _save_engine(run, spec, last.cut, last.trunks, quantize if may_quantize else None)


def save_solved_model(run: RunFolder, context: TrainingContext, frozen: FrozenNetwork, head: LinearHead) -> None:
    """Save a classifier with a solved head as a Keras model, and as a graph of its trunk with the head's weights."""
    engine, template = frozen.extraction.engine, frozen.template
    choice = engine.choice if engine else context.choice
    spec = replace(_spec(context, choice, template.pretrained, frozen.extraction), tail_engine="numpy")
    template.save_classifier(run.model, head.kernel, head.bias, context.config)
    _save_engine(run, spec, LinearEngine(head.kernel, head.bias), frozen.trunks)


def _spec(context: TrainingContext, choice: EngineChoice, pretrained: bool, extraction: Extraction) -> PredictorSpec:
    """Return the spec of a run, whose tail is that of a frozen backbone in float32."""
    config, manifest = context.config, context.manifest
    trunks = tuple(trunk.fingerprint for trunk in extraction.trunks)
    cuts = tuple(trunk.cut for trunk in extraction.trunks if trunk.cut)
    precisions = tuple(trunk.engine.choice.precision for trunk in extraction.trunks)
    return PredictorSpec(
        engine=choice.engine,
        precision=precisions if len(precisions) > 1 else choice.precision,
        tail_engine=choice.engine,
        trunk=trunks if len(trunks) > 1 else next(iter(trunks), None),
        cut=cuts if len(cuts) > 1 else next(iter(cuts), None),
        unfreeze=0,
        batch_norm=config.training.batch_norm,
        pretrained=pretrained,
        activation=config.head.activation,
        classes=manifest.classes,
        **asdict(context.pixels),
        gpu=bool(gpus()),
        tta=config.evaluation.tta,
        loss=config.training.loss,
        metrics=metrics_of(config),
        thresholds=(DEFAULT_THRESHOLD,) * (len(manifest.classes) if manifest.is_multi_label else 0),
    )


def _save_engine(
    run: RunFolder,
    spec: PredictorSpec,
    tail: Cut | LinearEngine,
    trunks: Sequence[BuiltTrunk],
    quantize: Callable[[Path], bool] | None = None,
) -> None:
    shutil.rmtree(run.engine, ignore_errors=True)  # left by a process that was killed here
    graphs = [trunk.graph for trunk in trunks if trunk.graph]
    save_predictor(run.engine, spec, tail, graphs, quantize)


def evaluate_saved_run(
    run: RunFolder, context: TrainingContext, in_use: Sequence[FeatureSet], *, may_store: bool
) -> SavedRunEvaluation:
    """Evaluate validation and test split from the saved files. The test images are used only here, once.

    The thresholds of a multi-label classifier are chosen on the validation images, and saved, as is the calibration.

    `in_use` are the features of the last stage. If they were not cached (not `may_store`), those of the test images are
    not cached either, because they are needed only once and the cache would exceed its cap.
    """
    manifest = context.manifest
    assessments: list[Assessment] = []
    found: dict[str, Outputs] = {}
    features, problem = Counts(), None
    try:
        predictor = load_predictor(run.engine, run.model, compile_trunk=False)
        if manifest.split("validation"):
            reference = build_reference(predictor, manifest.split("train"), context.store, context.console)
            predictor = replace(predictor, reference=reference)
        for split in ("validation", "test"):
            if rows := manifest.split(split):
                outputs, counts = compute_outputs(
                    predictor,
                    rows,
                    context.store,
                    context.console,
                    networks=[backbone.network.name for backbone in context.config.backbones],
                    in_use=in_use,
                    may_store=may_store,
                )
                if split == "validation":
                    coverage = context.config.evaluation.coverage
                    predictor = _calibrate(run, predictor, outputs, manifest.labels(rows), coverage)
                assessments.append(assess(predictor.spec, predictor.calibration, manifest, rows, split, outputs))
                found[split] = outputs
                # The last stage has already counted the validation images' features.
                features = features + (Counts(counts.computed, 0) if split == "validation" else counts)
    except CnncliError as error:
        problem, reason = error, error.problems[0]
        text = f"The model is saved, but not every split could be evaluated: {reason}"
        log.warning(Message("training-evaluation-incomplete", text, reason=reason))
    save_assessments(run, assessments, found)
    return SavedRunEvaluation({one.split: one.metrics for one in assessments}, features, problem)


def _calibrate(
    run: RunFolder, predictor: Predictor, outputs: Outputs, labels: NDArray[Any], coverage: float | None
) -> Predictor:
    """Choose the thresholds of several labels and the calibration by the validation images, and save them."""
    spec = predictor.spec
    if spec.is_multi_label:
        spec = replace(spec, thresholds=choose_thresholds(outputs.logits, labels))
        save_thresholds(run.engine, spec.thresholds)
    calibration = Calibration.fit(outputs.logits, labels, spec.activation, outputs.distances, coverage)
    save_calibration(run.engine, calibration, predictor.reference)
    return replace(predictor, spec=spec, calibration=calibration)
