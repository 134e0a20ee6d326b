"""`cnncli calibrate`: choose which images a run answers, and which are unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.manifest import Manifest
from cnncli.errors import ConfigError, Message, RunError, printable
from cnncli.evaluation.assessment import Assessment
from cnncli.evaluation.calibration import (
    Calibration,
    min_confidences_for,
    min_confidences_of_costs,
    thresholds_for,
)
from cnncli.evaluation.outputs import Outputs, load_outputs
from cnncli.inference.evaluate_rows import assess, load_metrics, save_assessments, save_metrics
from cnncli.inference.predictor import load_spec, save_calibration, save_thresholds
from cnncli.inference.spec import PredictorSpec
from cnncli.metrics.classification import choose_thresholds
from cnncli.metrics.multilabel import LabelMetrics
from cnncli.recipes.report import write_report
from cnncli.runs.folder import RunFolder, update_facts
from cnncli.runs.listing import require_finished
from cnncli.terminal.suggestions import did_you_mean


@dataclass(frozen=True)
class AnsweredClass:
    """The validation images that are predicted as a class or, with several labels per image, that have a label.

    Attributes:
        min_confidence: Confidence from which on they are answered, above 1 if they never are; the threshold of a label.
        answered: Fraction that is answered, 0-1; the recall of a label.
        precision: Fraction of the answers that are right, 0-1; None if there are none.
    """

    name: str
    min_confidence: float
    answered: float
    precision: float | None


@dataclass(frozen=True)
class CalibratedRun:
    """A run with its new calibration, and the evaluation of its validation images."""

    run: Path
    calibration: Calibration
    assessment: Assessment

    @property
    def classes(self) -> tuple[AnsweredClass, ...]:
        """Answered images of each predicted class."""
        names = self.assessment.metrics.classes
        labels = [one for one in self.assessment.metrics.per_class if isinstance(one, LabelMetrics)]
        if labels:
            pairs = zip(names, labels, strict=True)
            return tuple(AnsweredClass(name, one.threshold, one.recall, one.precision) for name, one in pairs)
        limits = self.calibration.min_confidences or (0.0,) * len(names)
        return tuple(self._of_class(name, limit) for name, limit in zip(names, limits, strict=True))

    def _of_class(self, name: str, min_confidence: float) -> AnsweredClass:
        images = [one for one in self.assessment.images if one.predictions == (name,)]
        answered = [one.is_correct for one in images if not one.unknown]
        fraction = len(answered) / len(images) if images else 0.0
        return AnsweredClass(name, min_confidence, fraction, sum(answered) / len(answered) if answered else None)

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `calibrate --json`."""
        return {
            "run": self.run,
            "n": self.assessment.metrics.n,
            "coverage": self.calibration.coverage,
            **self.assessment.to_dict(),
            "classes": {one.name: asdict(one) for one in self.classes},
        }


def calibrate(
    run: RunFolder,
    coverage: float | None = None,
    precision: float | None = None,
    costs: Mapping[str, float] | None = None,
) -> CalibratedRun:
    """Choose which images a run answers by its validation images, and record it in the run.

    Its predictions, metrics, report and model card are written again, the report without explanations of mistakes.

    Args:
        run: A finished run.
        coverage: Fraction of the validation images to answer, 0-1; None: as before.
        precision: Wanted fraction of right answers for each predicted class, 0-1.
        costs: Cost of predicting a class wrongly, by class, in units of the cost of `unknown` or, with several labels
            per image, of a label that is missed. With a precision, the stricter of the two applies.

    Raises:
        ConfigError: A value is out of range, or there is no such class.
        RunError: The run is unfinished or damaged, or has no validation images.
    """
    require_finished(run)
    spec, manifest = load_spec(run.engine), Manifest.from_csv(run.manifest)
    costs = costs or {}
    _check(coverage, precision, costs, spec.classes)
    calibration = Calibration.load(run.engine, len(spec.classes))
    recorded = {
        split: outputs
        for split in manifest.counts()
        if (outputs := load_outputs(run.outputs, split, len(manifest.split(split)), spec.units))
    }
    if calibration is None or "validation" not in recorded:
        text = f"{printable(run.path.name)}: has no calibration, because it has no validation images or is too old."
        raise RunError(Message("run-not-calibrated", text, path=run.path))
    calibration = replace(calibration, coverage=coverage or calibration.coverage)
    outputs, labels = recorded["validation"], manifest.labels(manifest.split("validation"))
    if spec.is_multi_label:
        spec = replace(spec, thresholds=_thresholds(spec, calibration, outputs, labels, precision, costs))
    else:
        limits = _min_confidences(spec, calibration, outputs, labels, precision, costs)
        calibration = replace(calibration, min_confidences=limits)
    return CalibratedRun(run.path, calibration, _record(run, spec, calibration, manifest, recorded)["validation"])


def _record(
    run: RunFolder,
    spec: PredictorSpec,
    calibration: Calibration,
    manifest: Manifest,
    recorded: Mapping[str, Outputs],
) -> dict[str, Assessment]:
    """Write a calibration, and with it the predictions, metrics and report of the run; return its evaluations.

    Thresholds of labels change every metric, and limits of confidence which predictions are `unknown`.
    """
    evaluated = {
        split: assess(spec, calibration, manifest, manifest.split(split), split, outputs)
        for split, outputs in recorded.items()
    }
    metrics = {split: evaluated[split].metrics for split in load_metrics(run) if split in evaluated}
    save_assessments(run, tuple(evaluated.values()), {})  # fails before anything is written if a file is damaged
    if spec.is_multi_label:
        save_thresholds(run.engine, spec.thresholds)
    save_calibration(run.engine, calibration)
    if metrics:
        save_metrics(run, metrics)
        update_facts(run, {"metrics": {split: one.summary() for split, one in metrics.items()}})
    write_report(run)
    return evaluated


def _min_confidences(
    spec: PredictorSpec,
    calibration: Calibration,
    outputs: Outputs,
    labels: NDArray[Any],
    precision: float | None,
    costs: Mapping[str, float],
) -> tuple[float, ...]:
    """Return the minimum confidence of each class; none if there is neither a precision nor a cost."""
    found = np.array(min_confidences_of_costs(costs, spec.classes))
    if precision is not None:
        probabilities = spec.probabilities(outputs.logits, calibration.temperature)
        found = np.maximum(found, min_confidences_for(probabilities, labels, precision))
    return tuple(found.tolist()) if found.any() else ()


def _thresholds(
    spec: PredictorSpec,
    calibration: Calibration,
    outputs: Outputs,
    labels: NDArray[Any],
    precision: float | None,
    costs: Mapping[str, float],
) -> tuple[float, ...]:
    """Return the threshold of each label; that with the highest F1 if there is neither a precision nor a cost."""
    default = choose_thresholds(outputs.logits, labels)
    if precision is not None:
        default = thresholds_for(spec.probabilities(outputs.logits), labels, precision)
    # An honest probability p is worth its risk if p > (1 − p) · cost.
    honest = replace(spec, thresholds=tuple(costs.get(name, 0.0) / (1 + costs.get(name, 0.0)) for name in spec.classes))
    by_cost = honest.thresholds_at(1 / calibration.temperature)
    pairs = zip(spec.classes, default, by_cost, strict=True)
    if precision is not None:
        return tuple(max(one, other) if name in costs else one for name, one, other in pairs)
    return tuple(other if name in costs else one for name, one, other in pairs)


def _check(
    coverage: float | None, precision: float | None, costs: Mapping[str, float], classes: tuple[str, ...]
) -> None:
    """Raise ConfigError for values that are out of range, and for unknown classes."""
    problems = []
    for key, value in (("coverage", coverage), ("precision", precision)):
        if value is not None and not 0 < value <= 1:
            text = f"{key}: received {value}, expected a fraction above 0 and at most 1."
            problems.append(Message("usage-value-invalid", text, key=key, received=value))
    for name, cost in costs.items():
        if name not in classes:
            hint = did_you_mean(name, classes) or f"Classes: {', '.join(map(printable, classes[:10]))}."
            text = f"cost: the run has no class {printable(name)}. {hint}"
            problems.append(Message("usage-class-unknown", text, received=name, expected=classes))
        elif not 1 <= cost < float("inf"):
            text = f"cost: received {cost} for {printable(name)}, expected a number of at least 1, the cost of unknown."
            problems.append(Message("usage-value-invalid", text, key="cost", received=cost))
    if problems:
        raise ConfigError(problems)
