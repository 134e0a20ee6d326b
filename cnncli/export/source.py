"""The source of an export: the classifier as one Keras graph from raw pixels to probabilities, and facts about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnncli.inference.predictor import load_spec
from cnncli.inference.spec import PredictorSpec
from cnncli.networks.backend import import_keras, standard_settings
from cnncli.networks.classifier import PIXELS, Classifier, load_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.graph import output_of, replay
from cnncli.networks.head import LOGITS
from cnncli.runs.folder import RunFolder

if TYPE_CHECKING:
    import keras

PROBABILITIES = "probabilities"
"""Name of the output of every export."""
AT_A_TIME = 16


@dataclass(frozen=True)
class ExportSource:
    """A classifier to export.

    Attributes:
        model: float32 pixels (n, height, width, channels) in 0-255 to probabilities (n, classes).
        metadata: Facts that are stored in the file.
        calibration: Pixels of training images, uint8 (1, height, width, channels) each, which determine the ranges of
            activations in int8.
    """

    model: keras.Model
    metadata: Mapping[str, Any]
    calibration: Sequence[NDArray[np.uint8]] = ()

    @cached_property
    def uint8_model(self) -> keras.Model:
        """The same graph for uint8 pixels."""
        keras = import_keras()
        pixels = keras.Input(self.model.input_shape[1:], dtype="uint8", name=PIXELS)
        (found,) = replay(self.model, [keras.ops.cast(pixels, "float32")])
        return keras.Model(pixels, found, name=self.model.name)

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the probabilities, float64 (n, classes), that Keras computes in float32."""
        batches = [pixels[start : start + AT_A_TIME] for start in range(0, len(pixels), AT_A_TIME)]
        found = [self.model.predict_on_batch(batch.astype(np.float32)) for batch in batches]
        return np.concatenate(found).astype(np.float64)


@standard_settings()
def build_exported(run: RunFolder) -> keras.Model:
    """Build the graph of a run from pixels to the probabilities that `predict` gives. Raises RunError.

    Unlike the graph in `model.keras`, it has one output per class for every head, and averages features over the views
    at test time.
    """
    keras = import_keras()
    spec = load_spec(run.engine)
    classifier = load_classifier(run.model, spec.pretrained)
    pixels = keras.Input(classifier.model.input_shape[1:], name=PIXELS)
    probabilities = _probabilities(_logits(classifier, spec, pixels), spec)
    return keras.Model(pixels, probabilities, name="classifier")


def _logits(classifier: Classifier, spec: PredictorSpec, pixels: keras.KerasTensor) -> keras.KerasTensor:
    keras = import_keras()
    model = classifier.model
    if spec.tta == "none" or not spec.trunks:
        return replay(keras.Model(model.inputs, output_of(model, LOGITS)), [pixels])[0]
    cut = cut_classifier(classifier, spec.unfreeze, spec.batch_norm)
    views = (pixels, keras.ops.flip(pixels, axis=2))
    features = [[tensor for trunk in cut.trunks for tensor in replay(trunk, [view])] for view in views]
    averages = [keras.layers.Average()(tensors) for tensors in zip(*features, strict=True)]
    return replay(cut.tail, averages)[0]


def _probabilities(logits: keras.KerasTensor, spec: PredictorSpec) -> keras.KerasTensor:
    """Return one probability per class; see `probabilities_of` in `cnncli.metrics.classification`."""
    layers = import_keras().layers
    if spec.activation != "sigmoid":
        return layers.Activation("softmax", name=PROBABILITIES)(logits)
    if spec.units == len(spec.classes):
        return layers.Activation("sigmoid", name=PROBABILITIES)(logits)
    pair = [layers.Activation("sigmoid")(one) for one in (-logits, logits)]
    return layers.Concatenate(name=PROBABILITIES)(pair)
