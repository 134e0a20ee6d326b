"""Linear probes: how well the features at several depths of a frozen backbone separate the classes.

Each probe is a head on the pooled feature maps of a layer, solved exactly and cross-validated (Alain and Bengio,
arXiv 1610.01644). One pass through the lower part of the backbone gives the features of all depths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.build import build_engine
from cnncli.engines.linear import as_vectors
from cnncli.evaluation.agreement import mcnemar_p
from cnncli.evaluation.cross_validation import Pool
from cnncli.features.extract import Extraction, FeatureSet, Trunk, extract
from cnncli.metrics.classification import are_correct, wilson_interval
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import Classifier
from cnncli.networks.fingerprint import fingerprint
from cnncli.networks.graph import crossing_tensors
from cnncli.training.context import TrainingContext

if TYPE_CHECKING:
    import keras

MAX_DEPTHS = 4
"""Maximum number of layers that are probed below the last one."""
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Probe:
    """A cross-validated head on the features of a layer.

    Attributes:
        layer: Name of the layer; None for the end of the backbone.
        n_features: Number of features after pooling.
        size: Height and width of the feature maps; None at the end of the backbone.
        is_correct: Whether each image is classified correctly by the head that has not seen it.
        p: p-value of McNemar's exact test against the end of the backbone; None there.
    """

    layer: str | None
    n_features: int
    size: tuple[int, int] | None
    is_correct: NDArray[np.bool_]
    p: float | None = None

    @property
    def accuracy(self) -> float:
        """Fraction of the images that are classified correctly."""
        return float(self.is_correct.mean())

    @property
    def ci95(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson_interval(int(self.is_correct.sum()), len(self.is_correct))

    def against(self, last: Probe) -> Probe:
        """Return the probe with the p-value of its difference from another one on the same images."""
        counts = (self.is_correct & ~last.is_correct).sum(), (last.is_correct & ~self.is_correct).sum()
        return replace(self, p=mcnemar_p(*map(int, counts)))

    def is_better_than(self, last: Probe) -> bool:
        """Return whether the probe is more accurate than the last one, to which it was compared, beyond chance."""
        return self.p is not None and self.p < SIGNIFICANT and self.accuracy > last.accuracy

    def is_worse_than(self, best: Probe) -> bool:
        """Return whether the probe is less accurate than the best one, to which it was compared, beyond chance."""
        return self.p is not None and self.p < SIGNIFICANT and self.accuracy < best.accuracy

    def to_dict(self) -> dict[str, Any]:
        """Return the probe for JSON."""
        values = {"layer": self.layer, "n_features": self.n_features, "size": self.size, "p": self.p}
        return {**values, "accuracy": self.accuracy, "ci95": self.ci95}


def probe_pool(pool: Pool, n_folds: int, layer: str | None = None, size: tuple[int, int] | None = None) -> Probe:
    """Cross-validate a head on the images of a pool, without augmented views."""
    plain = replace(pool, views=pool.views[:1])
    folds = plain.folds(n_folds, pool.config.seed)
    logits = plain.held_out_logits(plain.solve(folds), folds)
    is_correct = are_correct(logits, pool.labels, pool.config.head.activation)
    return Probe(layer, pool.views[0].shape[1], size, np.asarray(is_correct, bool))


def probe_depths(
    classifier: Classifier, context: TrainingContext, pool: Pool, last: Probe, n_folds: int
) -> tuple[Probe, ...]:
    """Probe a backbone below its end, the lowest layer first, and compare with the probe at its end.

    Features of the pool's images that are not cached are computed.
    """
    tensors, probes = depths_of(classifier), []
    features = _features_at(tensors, classifier, context, pool) if tensors else []
    for tensor, vectors in zip(tensors, features, strict=True):
        _, height, width, _ = tensor.shape
        found = probe_pool(replace(pool, views=(vectors,), boundaries=()), n_folds, _layer_of(tensor), (height, width))
        probes.append(found.against(last))
    return tuple(probes)


def depths_of(classifier: Classifier) -> list[keras.KerasTensor]:
    """Return the last feature maps of each size through which everything in the backbone flows, except its output.

    Several backbones have none.
    """
    model, names = classifier.model, {layer.name for layer in classifier.backbone_layers}
    places = range(classifier.backbone_start + 1, classifier.head_start + 1)
    found: dict[tuple[int, ...], Any] = {}
    for tensor in _bottlenecks(model, places):
        if _layer_of(tensor) in names and min(tensor.shape[1:3]) > 1:
            found[tuple(tensor.shape[1:3])] = tensor
    (*_, output) = crossing_tensors(model, classifier.head_start)
    tensors = [tensor for tensor in found.values() if tensor is not output]
    return tensors[-MAX_DEPTHS:]


def _bottlenecks(model: keras.Model, places: Sequence[int]) -> Iterator[keras.KerasTensor]:
    """Yield the feature maps that alone cross a cut before one of the operations."""
    for place in places:
        tensors = crossing_tensors(model, place)
        if len(tensors) == 1 and len(tensors[0].shape) == 4:
            yield tensors[0]


def _layer_of(tensor: Any) -> str:
    return str(tensor._keras_history.operation.name)


def _features_at(
    tensors: Sequence[keras.KerasTensor], classifier: Classifier, context: TrainingContext, pool: Pool
) -> list[NDArray[np.float32]]:
    """Return the pooled features of the images of a pool at each of the tensors, float32 (n, channels)."""
    keras = import_keras()
    kind = keras.layers.GlobalMaxPooling2D if context.config.head.pooling == "max" else None
    pooled = [(kind or keras.layers.GlobalAveragePooling2D)()(tensor) for tensor in tensors]
    trunk = keras.Model(classifier.model.inputs, pooled, name="trunk")
    name = fingerprint(trunk)
    engine, _ = build_engine(trunk, name, context.choice, context.graphs)
    network, end = context.config.backbones[0].network.name, f"{len(tensors)} depths"
    extraction = Extraction((Trunk(engine, name, network, end),), context.pixels)
    (view,), _ = extract(FeatureSet(extraction, pool.images), context.store, context.console)
    return [as_vectors([array]) for array in view.rows(np.arange(len(pool.images)))]
