"""Measure how the results of a run change with the strength of a perturbation of its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.perturbations import PERTURBATIONS, Perturbation
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.features.decoded_images import map_decoded
from cnncli.inference.evaluate_rows import evaluate_manifest
from cnncli.inference.predictor import Predictor
from cnncli.inference.spec import PredictorSpec
from cnncli.metrics.classification import label_probabilities, probabilities_of, ranking_scores
from cnncli.terminal.console import Console

Logits = NDArray[np.float32]
Case = tuple[str, float]
"""Name of a perturbation, and a strength."""


@dataclass(frozen=True)
class RobustnessPoint:
    """Results at one strength of a perturbation; all values but the strength are fractions.

    Attributes:
        strength: In the unit of the perturbation; 0 is the plain evaluation.
        accuracy: Accuracy, and its 95 % Wilson interval in `ci95`.
        probability: Mean probability of the true class (with several labels: of each true label).
        unchanged: Fraction of the images whose prediction is that of the unchanged image.
    """

    strength: float
    accuracy: float
    ci95: tuple[float, float]
    probability: float
    unchanged: float


@dataclass(frozen=True)
class Robustness:
    """Results over the strengths of one perturbation, ascending."""

    perturbation: str
    unit: str
    points: tuple[RobustnessPoint, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the results for JSON."""
        return asdict(self)


def measure_robustness(
    predictor: Predictor,
    manifest: Manifest,
    rows: Sequence[ImageRecord],
    plain: Logits,
    names: Sequence[str],
    console: Console,
) -> list[Robustness]:
    """Evaluate images under each strength of some perturbations. Each image is decoded once.

    Args:
        predictor: The predictor of the run.
        manifest: Manifest of the images.
        rows: The images.
        plain: Logits of the unchanged images (n, units), which are the results at strength 0.
        names: Names of perturbations.
        console: Console for progress.

    Raises:
        DataError: All images that cannot be decoded or have changed since they were indexed.
    """
    chosen = [PERTURBATIONS[name] for name in names]
    logits = _perturbed_logits(predictor, rows, chosen, console)
    spec = predictor.spec

    def point(name: str, strength: float) -> RobustnessPoint:
        some = logits[name, strength] if strength else plain
        metrics = evaluate_manifest(spec, manifest, rows, some)
        is_same = (_predictions(spec, some) == _predictions(spec, plain)).reshape(len(rows), -1).all(axis=1)
        probability = _true_probability(spec, some, manifest.labels(rows))
        return RobustnessPoint(strength, metrics.top1, metrics.top1_ci95, probability, float(is_same.mean()))

    return [Robustness(one.name, one.unit, tuple(point(one.name, k) for k in one.strengths)) for one in chosen]


def _perturbed_logits(
    predictor: Predictor, rows: Sequence[ImageRecord], chosen: Sequence[Perturbation], console: Console
) -> dict[Case, Logits]:
    """Return the logits of all images for each perturbation and strength but 0."""
    cases = [(one, strength) for one in chosen for strength in one.strengths if strength]

    def predict(batch: Sequence[ImageRecord], pixels: NDArray[np.uint8]) -> list[Logits]:
        pairs = list(zip(batch, pixels, strict=True))
        changed = ([change(image, strength, row.digest) for row, image in pairs] for change, strength in cases)
        return [predictor.logits_of_pixels(np.stack(images)) for images in changed]

    parts = map_decoded(predict, rows, predictor.spec.pixels, console, "perturbing")
    found = map(np.concatenate, zip(*parts, strict=True))
    return {(change.name, strength): logits for (change, strength), logits in zip(cases, found, strict=True)}


def _predictions(spec: PredictorSpec, logits: Logits) -> NDArray[Any]:
    """Return the predicted class (n,), or with several labels the decision on each (n, labels)."""
    if spec.is_multi_label:
        return np.asarray(label_probabilities(logits) >= np.asarray(spec.thresholds))
    return np.asarray(ranking_scores(logits, spec.activation).argmax(axis=1))


def _true_probability(spec: PredictorSpec, logits: Logits, labels: NDArray[Any]) -> float:
    """Return the mean probability of the true classes; NaN if no image has any."""
    if spec.is_multi_label:
        true = label_probabilities(logits)[labels.astype(bool)]
        return float(true.mean()) if len(true) else float("nan")
    return float(probabilities_of(logits, spec.activation)[np.arange(len(labels)), labels].mean())
