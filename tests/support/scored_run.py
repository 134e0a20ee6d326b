"""Score the test images of a finished run in every way that cnncli supports."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.manifest import Manifest
from cnncli.engines.engine import Precision
from cnncli.engines.keras import KerasEngine
from cnncli.engines.openvino import OpenVinoEngine
from cnncli.features.extract import FeatureSet, extract
from cnncli.features.store import FeatureStore
from cnncli.images.decode import decode
from cnncli.inference.evaluate_rows import extraction_of
from cnncli.inference.prediction import Prediction
from cnncli.inference.predictor import load_predictor
from cnncli.metrics.classification import probabilities_of
from cnncli.networks.classifier import load_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.recipes.predict import predict
from cnncli.runs.listing import open_run
from cnncli.terminal.console import Console

Probabilities = NDArray[np.float64]
BARE_KERAS = """
import sys
import keras, numpy as np
model, pixels, scores = sys.argv[1:]
loaded = keras.saving.load_model(model, safe_mode=True)
np.save(scores, loaded.predict(np.load(pixels), verbose=0))
assert "cnncli" not in sys.modules
"""


class ScoredRun:
    """The test images of a run (its validation images if it has no test split) and its predictor."""

    def __init__(self, path: Path) -> None:
        """Decode the images of the run at `path`."""
        self._run = open_run(path, path.parent)
        self._predictor = load_predictor(self._run.engine, self._run.model)
        self.recipe = self._predictor.spec
        manifest = Manifest.from_csv(self._run.manifest)
        self.rows = manifest.split("test") or manifest.split("validation")
        self.labels = np.array([self.recipe.classes.index(row.label) for row in self.rows])
        self._pixels = np.stack([decode(row.path, self.recipe.pixels) for row in self.rows])

    def n_correct(self, probabilities: Probabilities) -> int:
        """Return the number of images that are classified correctly."""
        return int((probabilities.argmax(axis=1) == self.labels).sum())

    def probabilities(self, precision: Precision) -> Probabilities:
        """Return probabilities with the trunk computed in `precision` by the run's engine."""
        recipe, graph = self.recipe, self._run.engine / "trunk.xml"
        if graph.exists():
            return replace(self._predictor, trunks=(OpenVinoEngine(graph, precision),)).probabilities(self._pixels)
        cut = cut_classifier(load_classifier(self._run.model, recipe.pretrained), recipe.unfreeze, recipe.batch_norm)
        engines = tuple(KerasEngine(trunk, precision) for trunk in cut.trunks)
        return replace(self._predictor, trunks=engines).probabilities(self._pixels)

    def predicted(self) -> Probabilities:
        """Return the probabilities from `predict`."""
        classes = self.recipe.classes
        found = predict(self._run, [row.path for row in self.rows], top=len(classes))
        named = [dict(zip(one.labels, one.probabilities, strict=True)) for one in found if isinstance(one, Prediction)]
        return np.array([[one[label] for label in classes] for one in named])

    def evaluated(self, store: Path) -> Probabilities:
        """Return probabilities as `evaluate` computes them: from cached features through the tail."""
        (features,), _ = extract(
            FeatureSet(extraction_of(self._predictor), self.rows), FeatureStore(store), Console(quiet=True)
        )
        logits = self._predictor.logits(features.rows(np.arange(len(self.rows))))
        return probabilities_of(logits, self.recipe.activation)

    def in_bare_keras(self, folder: Path) -> Probabilities:
        """Return the probabilities from `model.keras`, loaded in safe mode in a process without cnncli."""
        files = [str(self._run.model), str(folder / "pixels.npy"), str(folder / "scores.npy")]
        np.save(files[1], self._pixels)
        subprocess.run([sys.executable, "-c", BARE_KERAS, *files], check=True, cwd=folder)
        scores = np.load(files[2]).astype(np.float64)
        if self.recipe.activation == "linear":
            scores = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        return np.hstack([1 - scores, scores]) if scores.shape[1] == 1 else scores
