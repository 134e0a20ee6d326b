"""Evaluate images of a manifest with a saved run: the last step of `train`, and all of `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.errors import DataError, ImageError
from cnncli.evaluation.assessment import Assessment
from cnncli.evaluation.outputs import load_outputs, save_outputs
from cnncli.evaluation.predictions import predicted_images, write_predictions
from cnncli.features.extract import Counts, Extraction, FeatureSet, Trunk, extract, fits, read_all, summarize
from cnncli.features.store import FeatureStore
from cnncli.inference.predictor import Predictor
from cnncli.inference.spec import PredictorSpec
from cnncli.metrics.classification import Metrics, evaluate_logits
from cnncli.metrics.curves import class_curves
from cnncli.networks.keras_metrics import compute_keras_metrics
from cnncli.networks.losses import evaluate_losses
from cnncli.runs.folder import RunFolder
from cnncli.runtime.threads import batched, map_ordered, workers
from cnncli.terminal.console import Console

ROWS = 64
"""Number of rows of features that go through the tail together."""


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
    spec: PredictorSpec, manifest: Manifest, rows: Sequence[ImageRecord], split: str, logits: NDArray[Any]
) -> Assessment:
    """Return everything about the evaluation of images of a manifest from their logits."""
    classes, probabilities = manifest.classes, spec.probabilities(logits)
    paths, labels = [row.file for row in rows], [row.labels for row in rows]
    return Assessment(
        split=split,
        metrics=evaluate_manifest(spec, manifest, rows, logits),
        images=predicted_images(paths, split, labels, probabilities, classes, spec.thresholds),
        curves=class_curves(probabilities, manifest.labels(rows), classes),
    )


def load_assessment(run: RunFolder, split: str) -> Assessment | None:
    """Return the evaluation of a split of a run from its files, or None if it was not evaluated.

    Raises:
        RunError: A file of the run is damaged.
    """
    spec, manifest = PredictorSpec.load(run.engine), Manifest.from_csv(run.manifest)
    rows = manifest.split(split)
    logits = load_outputs(run.outputs, split, len(rows), spec.units)
    return None if logits is None else assess(spec, manifest, rows, split, logits)


def save_assessment(run: RunFolder, found: Assessment, logits: NDArray[Any] | None) -> None:
    """Write the predictions of an evaluation and, if it is one of a split of the run, its logits.

    Raises:
        OSError: The run cannot be written to.
    """
    write_predictions(run.predictions, found.images, found.metrics.is_multi_label)
    if logits is not None:
        save_outputs(run.outputs, found.split, logits)


def compute_logits(
    predictor: Predictor,
    rows: Sequence[ImageRecord],
    store: FeatureStore,
    console: Console,
    *,
    networks: Sequence[str],
    in_use: Sequence[FeatureSet] = (),
    may_store: bool = True,
) -> tuple[NDArray[np.float32], Counts]:
    """Return the logits of images, and how many features were computed and found in the cache.

    If storing is not allowed, or features do not fit into the cache together with those of `in_use`, the whole network
    runs without caching. `networks` are the names under which the cache lists the features.

    Raises:
        DataError: All images that cannot be decoded or have changed since they were indexed.
    """
    features = FeatureSet(extraction_of(predictor, networks), rows)
    if not features.missing(store) or (may_store and fits([*in_use, features], store)):
        (stored,), counts = extract(features, store, console)
        batches = batched(range(len(rows)), ROWS)
        parts = map_ordered(lambda batch: predictor.logits(stored.rows(np.array(batch))), batches, ahead=2 * workers())
        return np.concatenate(list(parts)), counts
    return _stream_logits(predictor, features, console), Counts()


def extraction_of(predictor: Predictor, networks: Sequence[str] = ()) -> Extraction:
    """Return how the features of a predictor are computed; `networks` are the names of its networks, if known."""
    spec = predictor.spec
    n = len(spec.trunks)
    facts = zip_longest(predictor.trunks, spec.trunks, networks[:n], spec.cuts[:n])
    return Extraction(tuple(Trunk(*one) for one in facts), spec.pixels, tta=spec.tta)


def _stream_logits(predictor: Predictor, features: FeatureSet, console: Console) -> NDArray[np.float32]:
    """Return the logits of the whole network without storing features."""
    extraction, images = features.extraction, features.images

    def predict(batch: list[ImageRecord]) -> tuple[list[NDArray[np.float32]], list[ImageError]]:
        decoded, errors = read_all(batch, extraction.pixels)
        if errors:
            return [], errors
        return [predictor.logits(extraction.run(np.stack([pixels for _, pixels in decoded])))], []

    parts: list[NDArray[np.float32]] = []
    errors: list[ImageError] = []
    with console.progress(len(images), "evaluating", "images") as progress:
        for logits, failed in map_ordered(predict, batched(images, ROWS), ahead=2 * workers()):
            parts += logits
            errors += failed
            progress.advance(sum(map(len, logits)))
    if errors:
        raise DataError(summarize(errors, images))
    return np.concatenate(parts)
