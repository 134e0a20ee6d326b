"""Scoring images of a manifest with a saved run: the last step of `train`, and all of `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.errors import DataError, ImageError
from cnncli.features.extract import Counts, Extraction, Wanted, extract, fits, read_all, summarize
from cnncli.features.store import FeatureStore
from cnncli.inference.predictor import Scorer
from cnncli.metrics.classification import Metrics, evaluate_scores
from cnncli.metrics.scores import plain_losses, probabilities_of, ranking_scores
from cnncli.runtime.threads import batched, map_ordered, workers
from cnncli.terminal.console import Console

ROWS = 64
"""Rows of features that go through the tail at a time."""


def score_rows(
    scorer: Scorer,
    manifest: Manifest,
    rows: Sequence[ImageRecord],
    store: FeatureStore,
    console: Console,
    network: str,
    beside: Sequence[Wanted] = (),
    may_store: bool = True,
) -> tuple[Metrics, Counts]:
    """Compute the metrics of images from cached features, and compute missing features.

    If the features do not fit into the cache, the images are decoded and go through the whole network instead.

    Args:
        scorer: the run's predictor.
        manifest: provides the classes.
        rows: the images.
        store: the feature cache.
        console: shows progress.
        network: name under which the features are listed.
        beside: other features in use that have to fit into the cache together with these.
        may_store: whether missing features are stored if they fit.

    Returns:
        The metrics, and the number of features that were computed and found.

    Raises:
        DataError: all images that cannot be decoded or have changed since they were indexed.
    """
    recipe = scorer.recipe
    extraction = Extraction(scorer.trunk, recipe.trunk, recipe.pixels, network=network, cut=recipe.cut)
    wanted = Wanted(extraction, [row.digest for row in rows])
    if not wanted.missing(store) or (may_store and fits([*beside, wanted], store)):
        (features,), counts = extract(extraction, rows, 1, store, console)
        logits = _in_parallel(len(rows), lambda numbers: scorer.logits(features.rows(numbers)))
    else:
        logits, counts = _streamed(scorer, extraction, rows, console), Counts()
    labels, activation = manifest.labels(rows), recipe.activation
    loss = float(plain_losses(logits, labels, activation).mean())
    probabilities, ranking = probabilities_of(logits, activation), ranking_scores(logits, activation)
    return evaluate_scores(probabilities, labels, manifest.classes, loss=loss, ranking=ranking), counts


def _streamed(
    scorer: Scorer, extraction: Extraction, rows: Sequence[ImageRecord], console: Console
) -> NDArray[np.float32]:
    """Logits of images that are decoded and go through the whole network, some at a time on each core."""

    def score(task: list[ImageRecord]) -> NDArray[np.float32] | list[ImageError]:
        decoded, errors = read_all(task, extraction.pixels)
        return errors or scorer.logits(extraction.run(np.stack([pixels for _, pixels in decoded])))

    parts: list[NDArray[np.float32]] = []
    errors: list[ImageError] = []
    with console.progress(len(rows), "scoring", "images") as progress:
        for part in map_ordered(score, batched(rows, ROWS), ahead=2 * workers()):
            if isinstance(part, list):
                errors += part
            else:
                parts.append(part)
                progress.advance(len(part))
    if errors:
        raise DataError(summarize(errors, rows))
    return np.concatenate(parts)


def _in_parallel(n: int, logits_of: Callable[[NDArray[np.int64]], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Logits of rows 0 … n − 1, some at a time on each core."""
    parts = map_ordered(lambda numbers: logits_of(np.array(numbers)), batched(range(n), ROWS), ahead=2 * workers())
    return np.concatenate(list(parts))
