"""Scoring pictures of a manifest with a saved run: the last step of `train`, and all of `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cnncli.console import Console
from cnncli.engines.scorer import Scorer
from cnncli.evaluation.metrics import Metrics, evaluate_scores
from cnncli.features.extract import Counts, DecodedPictures, Extraction, extract
from cnncli.features.store import FeatureStore
from cnncli.features.wanted import Wanted, fits
from cnncli.networks.scores import plain_losses, probabilities_of, ranking_scores
from cnncli.parallel import batched, map_ordered, workers
from cnncli.pictures.manifest import Manifest, Row

ROWS = 64
"""Rows of features that go through the tail at a time."""


def score_rows(
    scorer: Scorer,
    manifest: Manifest,
    rows: Sequence[Row],
    store: FeatureStore,
    console: Console,
    network: str | None = None,
) -> tuple[Metrics, Counts]:
    """The figures of some pictures, from the features that are stored and those that are computed now.

    Args:
        scorer: of the run.
        manifest: has the classes.
        rows: the pictures.
        store: of features; where they do not fit into it they are not kept.
        console: shows what happens.
        network: under whose name the features are listed.

    Raises:
        DataError: pictures that cannot be decoded, all of them.
    """
    extraction = Extraction(scorer.trunk, scorer.recipe.trunk, scorer.recipe.pixels, network=network)
    if fits([Wanted(extraction, [row.digest for row in rows])], store):
        (features,), counts = extract(extraction, rows, 1, store, console)
        logits = _in_parallel(len(rows), lambda numbers: scorer.logits(features.rows(numbers)))
    else:
        pictures, counts = DecodedPictures(rows, extraction.pixels), Counts(computed=len(rows))
        logits = _in_parallel(len(rows), lambda numbers: scorer.logits(extraction.run(pictures.rows(numbers)[0])))
    labels, activation = manifest.labels(rows), scorer.recipe.activation
    loss = float(plain_losses(logits, labels, activation).mean())
    probabilities, ranking = probabilities_of(logits, activation), ranking_scores(logits, activation)
    return evaluate_scores(probabilities, labels, manifest.classes, loss=loss, ranking=ranking), counts


def _in_parallel(n: int, logits_of: Callable[[NDArray[np.int64]], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Logits of rows 0 … n − 1, some at a time on each core."""
    parts = map_ordered(lambda numbers: logits_of(np.array(numbers)), batched(range(n), ROWS), ahead=2 * workers())
    return np.concatenate(list(parts))
