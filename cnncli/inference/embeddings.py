"""One vector per image: the features of a run's frozen layers, averaged over their places."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnncli.config.schema import Config
from cnncli.dataset.records import ImageRecord
from cnncli.engines.build import build_engine, graphs_in_use
from cnncli.engines.engine import Array, EngineChoice
from cnncli.errors import Message, printable
from cnncli.features.decoded_images import ROWS, map_decoded
from cnncli.features.extract import Extraction, FeatureSet, Trunk, extract, fits
from cnncli.features.store import FeatureStore
from cnncli.inference.evaluate_rows import extraction_of
from cnncli.inference.predictor import load_predictor
from cnncli.inference.spec import PredictorSpec
from cnncli.networks.backend import import_keras
from cnncli.networks.head import LOGITS
from cnncli.runs.folder import RunFolder
from cnncli.runtime.threads import batched
from cnncli.storage.cache_dir import FEATURES, GRAPHS, make_cache_dir
from cnncli.terminal.console import Console

Vectors = NDArray[np.float32]

log = logging.getLogger(__name__)


@contextmanager
def embedding_of(run: RunFolder, config: Config) -> Iterator[Embedding]:
    """Open the features of a finished run: those that cross its cut or, if nothing is frozen, those below the logits.

    Features that training cached are found again. Without Keras as the engine, neither it nor TensorFlow is imported.

    Raises:
        RunError: The run is damaged.
        CacheError: The cache folder cannot be created.
    """
    cache = make_cache_dir()
    predictor = load_predictor(run.engine, run.model, compile_trunk=False)
    with FeatureStore(cache / FEATURES, config.cache.max_bytes) as store:
        if predictor.trunks:
            networks = [backbone.network.name for backbone in config.backbones]
            yield Embedding(extraction_of(predictor, networks), store)
            return
        text = f"{printable(run.path.name)}: nothing is frozen, so features are those of its last trained layer."
        log.info(Message("run-features-trained", text, path=run.path))
        with graphs_in_use(cache / GRAPHS):
            trunk = _below_logits(run, predictor.spec, cache / GRAPHS)
            yield Embedding(Extraction((trunk,), predictor.spec.pixels), store, is_trained=True)


def _below_logits(run: RunFolder, spec: PredictorSpec, graphs: Path) -> Trunk:
    from cnncli.networks.classifier import load_classifier
    from cnncli.networks.fingerprint import fingerprint
    from cnncli.networks.graph import inputs_of

    model = load_classifier(run.model, spec.pretrained).model
    below = import_keras().Model(model.inputs, inputs_of(model, LOGITS), name="trunk")
    name = fingerprint(below)
    engine, _ = build_engine(below, name, EngineChoice("openvino", "float32"), graphs)
    return Trunk(engine, name, "the run's network", LOGITS)


class Embedding:
    """The features of a run as one vector per image.

    Attributes:
        extraction: How features are computed.
        is_trained: Whether the layers below the features were trained with the labels of the images.
    """

    def __init__(self, extraction: Extraction, store: FeatureStore, *, is_trained: bool = False) -> None:
        self.extraction, self.is_trained = extraction, is_trained
        self._store = store

    def of_rows(self, rows: Sequence[ImageRecord], console: Console) -> Vectors:
        """Return the vectors of images of a manifest, float32 (n, features). They are cached if they fit.

        Raises:
            DataError: All images that cannot be decoded or have changed since they were indexed.
        """
        features = FeatureSet(self.extraction, rows)
        if not fits([features], self._store):
            return self._streamed(rows, console)
        (stored,), _ = extract(features, self._store, console)
        parts = (pool_features(stored.rows(np.array(batch))) for batch in batched(range(len(rows)), ROWS))
        return np.concatenate(list(parts))

    def of_pixels(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Return the vectors of decoded images, uint8 (n, height, width, channels)."""
        return pool_features(self.extraction.run(pixels))

    def _streamed(self, rows: Sequence[ImageRecord], console: Console) -> Vectors:
        spec, title = self.extraction.pixels, "computing features"
        return np.concatenate(map_decoded(lambda _, pixels: self.of_pixels(pixels), rows, spec, console, title))


def pool_features(tensors: Sequence[Array]) -> Vectors:
    """Return the tensors of images, each (n, …, channels), as one vector per image: maps are averaged over places.

    >>> pool_features([np.ones((2, 3, 3, 4)), np.zeros((2, 5))]).shape
    (2, 9)
    """
    pooled = [one.astype(np.float32).mean(axis=tuple(range(1, one.ndim - 1))) for one in tensors]
    return np.concatenate(pooled, axis=1)
