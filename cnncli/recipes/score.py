"""Scoring pictures of a manifest with a saved run: the last step of `train`, and all of `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnncli.console import Console
from cnncli.engines.scorer import Scorer
from cnncli.evaluation.metrics import Metrics, evaluate_scores
from cnncli.features.extract import Counts, Extraction, extract
from cnncli.features.store import FeatureStore
from cnncli.networks.scores import plain_losses, probabilities_of, ranking_scores
from cnncli.pictures.manifest import Manifest, Row

ROWS = 512
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
        store: of features.
        console: shows what happens.
        network: under whose name the features are listed.

    Raises:
        DataError: pictures that cannot be decoded, all of them.
    """
    extraction = Extraction(scorer.trunk, scorer.recipe.trunk, scorer.recipe.pixels, network=network)
    (features,), counts = extract(extraction, rows, 1, store, console)
    logits = np.concatenate(
        [
            scorer.logits(features.rows(np.arange(start, min(start + ROWS, len(rows)))))
            for start in range(0, len(rows), ROWS)
        ]
    )
    labels, activation = manifest.labels(rows), scorer.recipe.activation
    loss = float(plain_losses(logits, labels, activation).mean())
    probabilities, ranking = probabilities_of(logits, activation), ranking_scores(logits, activation)
    return evaluate_scores(probabilities, labels, manifest.classes, loss=loss, ranking=ranking), counts
