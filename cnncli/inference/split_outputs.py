"""The probabilities of a run for the images of one of its splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnncli.config.reader import cache_settings, load_resolved
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.evaluation.agreement import RunPredictions
from cnncli.evaluation.outputs import load_outputs
from cnncli.features.store import FeatureStore
from cnncli.inference.evaluate_rows import compute_outputs
from cnncli.inference.predictor import load_predictor, load_spec
from cnncli.inference.spec import PredictorSpec
from cnncli.runs.documents import damaged
from cnncli.runs.folder import RunFolder
from cnncli.storage.cache_dir import FEATURES, make_cache_dir
from cnncli.terminal.console import Console


@dataclass(frozen=True)
class SplitOutputs:
    """Probabilities of a run.

    Attributes:
        spec: How the run predicts.
        images: Images of the split, in the order of the manifest.
        probabilities: Their probabilities, float64 (n, classes).
    """

    spec: PredictorSpec
    images: Sequence[ImageRecord]
    probabilities: NDArray[np.float64]

    def predictions(self, name: str) -> RunPredictions:
        """Return the predicted classes with their confidences, for a run that is shown under a name."""
        scores, classes = self.probabilities, self.spec.classes
        if not self.spec.is_multi_label:
            best = scores.argmax(axis=1)
            return RunPredictions(name, self.images, [(classes[one],) for one in best], scores.max(axis=1, initial=0))
        are_predicted = scores >= np.asarray(self.spec.thresholds)
        found = [tuple(classes[place] for place in np.flatnonzero(row)) for row in are_predicted]
        confidences = np.where(are_predicted, scores, 1 - scores).min(axis=1, initial=1)
        return RunPredictions(name, self.images, found, confidences)


def outputs_of_split(run: RunFolder, split: str, console: Console) -> SplitOutputs:
    """Return the probabilities of a finished run for a split, none if it is empty; see `outputs_of_images`."""
    manifest, spec = Manifest.from_csv(run.manifest), load_spec(run.engine)
    if (manifest.classes, manifest.is_multi_label) != (spec.classes, spec.is_multi_label):
        raise damaged(run.manifest, "has other classes than the run's engine")
    return outputs_of_images(run, manifest.split(split), console, split)


def outputs_of_images(
    run: RunFolder, images: Sequence[ImageRecord], console: Console, split: str | None = None
) -> SplitOutputs:
    """Return the probabilities of a finished run for images: recorded, from cached features, or from the files.

    Args:
        run: The run.
        images: The images.
        console: Console for progress.
        split: Split of the run in which the images are; None if they are others.

    Raises:
        DataError: Neither outputs nor features are there, and images are missing or have changed.
        RunError: The run is damaged.
    """
    if not images:
        spec = load_spec(run.engine)
        return SplitOutputs(spec, (), np.empty((0, len(spec.classes))))
    if split is not None and (recorded := _recorded(run, split, images)) is not None:
        return recorded
    config, predictor = load_resolved(run.config), load_predictor(run.engine, run.model, compile_trunk=False)
    networks = [backbone.network.name for backbone in config.backbones]
    with FeatureStore(make_cache_dir() / FEATURES, cache_settings(config.cache).max_bytes) as store:
        outputs, _ = compute_outputs(predictor, images, store, console, networks=networks)
    return SplitOutputs(predictor.spec, images, predictor.spec.probabilities(outputs.logits))


def _recorded(run: RunFolder, split: str, images: Sequence[ImageRecord]) -> SplitOutputs | None:
    """Return what a run has recorded for some images of a split, or None."""
    spec, rows = load_spec(run.engine), Manifest.from_csv(run.manifest).split(split)
    outputs = load_outputs(run.outputs, split, len(rows), spec.units)
    if outputs is None:
        return None
    places = {row.digest: place for place, row in enumerate(rows)}
    logits = outputs.logits[[places[image.digest] for image in images]]
    return SplitOutputs(spec, images, spec.probabilities(logits))
