"""Evaluate images of a manifest with a saved run: the last step of `train`, and all of `evaluate`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.engines.engine import Array
from cnncli.errors import reason_of
from cnncli.evaluation.assessment import Assessment
from cnncli.evaluation.calibration import Calibration, coverage_curve
from cnncli.evaluation.outputs import Outputs, load_outputs, save_outputs
from cnncli.evaluation.predictions import predicted_images, write_predictions
from cnncli.evaluation.reference import FeatureReference, sample_size
from cnncli.features.decoded_images import ROWS, map_decoded
from cnncli.features.extract import Counts, Extraction, FeatureSet, Trunk, extract, fits, images_to_read
from cnncli.features.store import FeatureStore
from cnncli.features.views import ViewFeatures
from cnncli.inference.predictor import Predictor
from cnncli.inference.spec import PredictorSpec
from cnncli.metrics.classification import Metrics, evaluate_logits
from cnncli.metrics.curves import class_curves
from cnncli.metrics.reliability import measure_reliability
from cnncli.networks.keras_metrics import compute_keras_metrics
from cnncli.networks.losses import evaluate_losses
from cnncli.runs.documents import damaged
from cnncli.runs.folder import RunFolder
from cnncli.runtime.threads import batched, map_ordered, workers
from cnncli.storage.atomic import write_atomically
from cnncli.storage.safe_io import read_json
from cnncli.terminal.console import Console

ROWS_OF_DISTANCES = 512
"""Number of rows of features whose distances are computed together."""
MOST_COMPUTED = 500
"""Maximum number of training images whose features are computed for a reference, if they are not cached."""

T = TypeVar("T")


def evaluate_manifest(
    spec: PredictorSpec, manifest: Manifest, rows: Sequence[ImageRecord], logits: NDArray[Any]
) -> Metrics:
    """Return the metrics of images of a manifest from their logits."""
    labels, losses_of = manifest.labels(rows), partial(evaluate_losses, spec.loss)
    found = evaluate_logits(logits, labels, manifest.classes, spec.activation, spec.thresholds, losses_of)
    if not spec.metrics:
        return found
    others = compute_keras_metrics(spec.metrics, logits, labels, spec.activation)
    return replace(found, values={**found.values, **others})


def assess(
    spec: PredictorSpec,
    calibration: Calibration | None,
    manifest: Manifest,
    rows: Sequence[ImageRecord],
    split: str,
    outputs: Outputs,
) -> Assessment:
    """Return everything about the evaluation of images of a manifest from the outputs for them."""
    logits, labels, classes = outputs.logits, manifest.labels(rows), manifest.classes
    temperature = calibration.temperature if calibration else 1.0
    probabilities, calibrated = spec.probabilities(logits), spec.probabilities(logits, temperature)
    doubts = calibration.doubt(logits, spec.activation, outputs.distances) if calibration else None
    unknown = calibration.are_unknown(doubts, calibrated) if calibration and calibration.abstains else None
    confidences = spec.confidences(logits, temperature)
    images = predicted_images(rows, split, probabilities, classes, spec.thresholds, confidences, unknown)
    right = np.array([one.is_correct for one in images])
    return Assessment(
        split=split,
        metrics=evaluate_manifest(spec, manifest, rows, logits),
        images=images,
        curves=class_curves(probabilities, labels, classes),
        temperature=temperature,
        calibrated=measure_reliability(calibrated, labels) if calibration else None,
        coverage=() if doubts is None else coverage_curve(doubts, right),
    )


def load_assessment(run: RunFolder, split: str) -> Assessment | None:
    """Return the evaluation of a split of a run from its files, or None if it was not evaluated.

    Raises:
        RunError: A file of the run is damaged.
    """
    spec, manifest = PredictorSpec.load(run.engine), Manifest.from_csv(run.manifest)
    rows = manifest.split(split)
    outputs = load_outputs(run.outputs, split, len(rows), spec.units)
    calibration = Calibration.load(run.engine, len(spec.classes))
    return None if outputs is None else assess(spec, calibration, manifest, rows, split, outputs)


def load_metrics(run: RunFolder) -> dict[str, Metrics]:
    """Return the metrics of metrics.json by split; none if the run has not finished.

    Raises:
        RunError: They are damaged.
    """
    if not run.metrics.is_file():
        return {}
    try:
        return {split: Metrics.from_dict(one) for split, one in read_json(run.metrics).items()}
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(run.metrics, f"cannot be read ({reason_of(error)})") from error


def save_metrics(run: RunFolder, metrics: Mapping[str, Metrics]) -> None:
    """Write metrics.json; the metrics that run.json has are only their summaries, see `Metrics.summary`.

    Raises:
        OSError: The run cannot be written to.
    """
    write_atomically(run.metrics, json.dumps({split: one.to_dict() for split, one in metrics.items()}, indent=2) + "\n")


def save_assessments(run: RunFolder, found: Sequence[Assessment], outputs: Mapping[str, Outputs]) -> None:
    """Write the predictions of evaluations and, by split of the run, the outputs.

    Raises:
        OSError: The run cannot be written to.
    """
    images = [image for one in found for image in one.images]
    if images:
        metrics = found[0].metrics
        write_predictions(run.predictions, images, metrics.classes, metrics.is_multi_label)
    if outputs:
        save_outputs(run.outputs, outputs)


def compute_outputs(
    predictor: Predictor,
    rows: Sequence[ImageRecord],
    store: FeatureStore,
    console: Console,
    *,
    networks: Sequence[str],
    in_use: Sequence[FeatureSet] = (),
    may_store: bool = True,
) -> tuple[Outputs, Counts]:
    """Return the outputs for images, and how many features were computed and found in the cache.

    If storing is not allowed, or features do not fit into the cache together with those of `in_use`, the whole network
    runs for the images whose features are not cached, without caching. `networks` are the names under which the cache
    lists the features.

    Raises:
        DataError: All images that cannot be decoded or have changed since they were indexed.
    """
    features = FeatureSet(extraction_of(predictor, networks), rows)
    missing = features.missing_digests(store)
    if not missing or (may_store and fits([*in_use, features], store)):
        return _outputs_of_features(predictor, features, store, console)
    uncached = images_to_read(features, missing)
    parts = _stream(replace(features, images=uncached), predictor.outputs, console)
    cached, counts = [row for row in rows if row.digest not in missing], Counts()
    if cached:
        part, counts = _outputs_of_features(predictor, replace(features, images=cached), store, console)
        parts.append(part)
    places = {row.digest: place for place, row in enumerate([*uncached, *cached])}
    return Outputs.concatenate(parts).rows([places[row.digest] for row in rows]), counts


def _outputs_of_features(
    predictor: Predictor, features: FeatureSet, store: FeatureStore, console: Console
) -> tuple[Outputs, Counts]:
    """Return the outputs for images with cached features; missing ones are computed and cached."""
    (stored,), counts = extract(features, store, console)
    n = len(features.images)
    batches = batched(range(n), ROWS)
    parts = map_ordered(lambda batch: predictor.logits(stored.rows(np.array(batch))), batches, ahead=2 * workers())
    return Outputs(np.concatenate(list(parts)), _distances(predictor.reference, stored, n)), counts


def _distances(reference: FeatureReference | None, stored: ViewFeatures, n: int) -> NDArray[np.float64] | None:
    """Return the distances of n images with stored features, in few large products, which use all cores."""
    if reference is None:
        return None
    batches = batched(range(n), ROWS_OF_DISTANCES)
    return np.concatenate([reference.distances(stored.rows(np.array(batch))) for batch in batches])


def build_reference(
    predictor: Predictor, rows: Sequence[ImageRecord], store: FeatureStore, console: Console
) -> FeatureReference | None:
    """Return the reference for distances from training images; None if the trunk is empty.

    Their features are read from the cache or, for fewer images, computed without caching.

    Raises:
        DataError: All images that cannot be decoded or have changed since they were indexed.
    """
    if not predictor.trunks:
        return None
    features = FeatureSet(extraction_of(predictor), spread(rows, sample_size(len(predictor.spec.classes))))
    if features.missing(store):
        few = replace(features, images=spread(rows, MOST_COMPUTED))
        return FeatureReference.concatenate(_stream(few, FeatureReference.of, console))
    (stored,), _ = extract(features, store, console)
    batches = batched(range(len(features.images)), ROWS)
    return FeatureReference.concatenate([FeatureReference.of(stored.rows(np.array(batch))) for batch in batches])


def spread(rows: Sequence[ImageRecord], n: int) -> Sequence[ImageRecord]:
    """Return at most n images at equal distances, so that each class has its proportion of a sorted manifest."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(n, len(rows))).round().astype(int))
    return [rows[place] for place in places]


def extraction_of(predictor: Predictor, networks: Sequence[str] = ()) -> Extraction:
    """Return how the features of a predictor are computed; `networks` are the names of its networks, if known."""
    spec = predictor.spec
    n = len(spec.trunks)
    facts = zip_longest(predictor.trunks, spec.trunks, networks[:n], spec.cuts[:n])
    return Extraction(tuple(Trunk(*one) for one in facts), spec.pixels, tta=spec.tta)


def _stream(features: FeatureSet, function: Callable[[Sequence[Array]], T], console: Console) -> list[T]:
    """Return the results of a function of features for batches of images, whose features are not stored."""
    run = features.extraction.run
    spec, title = features.extraction.pixels, "evaluating"
    return map_decoded(lambda _, pixels: function(run(pixels)), features.images, spec, console, title)
