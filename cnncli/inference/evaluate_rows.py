"""Evaluation of images of a manifest with a saved run: the last step of `train`, and all of `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.errors import DataError, ImageError
from cnncli.features.extract import Counts, Extraction, Wanted, extract, fits, read_all, summarize
from cnncli.features.store import FeatureStore
from cnncli.inference.predictor import Predictor
from cnncli.metrics.classification import Metrics, evaluate_logits
from cnncli.runtime.threads import batched, map_ordered, workers
from cnncli.terminal.console import Console

ROWS = 64
"""Number of rows of features that go through the tail together."""


@dataclass(frozen=True)
class CacheUse:
    """Use of the feature cache in an evaluation.

    Attributes:
        network: Name of the network under which the features are listed.
        in_use: Other features in use, which have to fit into the cache together with these.
        may_store: Whether missing features are stored if they fit.
    """

    store: FeatureStore
    network: str
    in_use: Sequence[Wanted] = ()
    may_store: bool = True


def evaluate_rows(
    predictor: Predictor, manifest: Manifest, rows: Sequence[ImageRecord], cache: CacheUse, console: Console
) -> tuple[Metrics, Counts]:
    """Return the metrics of images of a manifest, and the number of features that were computed and found for them.

    If the features do not fit into the cache, the images are decoded and go through the whole network instead.

    Raises:
        DataError: All images that cannot be decoded or have changed since they were indexed.
    """
    spec, store = predictor.spec, cache.store
    extraction = Extraction(predictor.trunk, spec.trunk, spec.pixels, network=cache.network, cut=spec.cut)
    wanted = Wanted(extraction, [row.digest for row in rows])
    if not wanted.missing(store) or (cache.may_store and fits([*cache.in_use, wanted], store)):
        (features,), counts = extract(extraction, rows, 1, store, console)
        parts = map_ordered(
            lambda numbers: predictor.logits(features.rows(np.array(numbers))),
            batched(range(len(rows)), ROWS),
            ahead=2 * workers(),
        )
        logits = np.concatenate(list(parts))
    else:
        logits, counts = _stream_logits(predictor, extraction, rows, console), Counts()
    return evaluate_logits(logits, manifest.labels(rows), manifest.classes, spec.activation), counts


def _stream_logits(
    predictor: Predictor, extraction: Extraction, rows: Sequence[ImageRecord], console: Console
) -> NDArray[np.float32]:
    """Return logits of the whole network, without storing features."""

    def predict(task: list[ImageRecord]) -> NDArray[np.float32] | list[ImageError]:
        decoded, errors = read_all(task, extraction.pixels)
        return errors or predictor.logits(extraction.run(np.stack([pixels for _, pixels in decoded])))

    parts: list[NDArray[np.float32]] = []
    errors: list[ImageError] = []
    with console.progress(len(rows), "evaluating", "images") as progress:
        for part in map_ordered(predict, batched(rows, ROWS), ahead=2 * workers()):
            if isinstance(part, list):
                errors += part
            else:
                parts.append(part)
                progress.advance(len(part))
    if errors:
        raise DataError(summarize(errors, rows))
    return np.concatenate(parts)
