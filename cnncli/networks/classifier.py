"""The classifier: raw pixels in, class scores out, as one flat graph that includes the preprocessing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncli.catalogue.settings import with_defaults
from cnncli.config.backbone_settings import BackboneConfig
from cnncli.config.schema import Config
from cnncli.errors import reason_of
from cnncli.networks.architectures import architecture_of
from cnncli.networks.backbone import build_backbone
from cnncli.networks.backend import import_keras, standard_settings
from cnncli.networks.graph import replay
from cnncli.networks.head import CONCATENATED, HEAD, LOGITS, build_head, output_units, pool
from cnncli.networks.preprocessing import ADAPTER, adapt_channels, preprocess
from cnncli.networks.weights.saved_model import check_description, load_saved_model
from cnncli.runs.documents import damaged
from cnncli.storage.atomic import replacing

if TYPE_CHECKING:
    import keras

PIXELS = "pixels"
PREPROCESSING = "preprocess_"


@dataclass(frozen=True)
class Classifier:
    """A backbone with its head as one functional model.

    Attributes:
        model: float32 (batch, height, width, channels) in 0-255 to scores (batch, units). Its operations are, in order:
            the input `pixels`; the `adapter` of channels, if there is one; preprocessing, with names that start with
            `preprocess_`; the backbone, with its own names; the head, with names that start with `head_`. Of several
            backbones, each is with its preprocessing and pooling a branch of the graph, whose names start with
            `backbone_0_`, `backbone_1_`, …; the layer `concatenated_features` joins them.
        pretrained: Whether the backbone's weights are pretrained; determines whether its batch norm stays frozen.
        auxiliary: Logits (batch, units) of auxiliary classifiers on the same graph. They are used in training and are
            not part of the model, so they are not saved with it.
    """

    model: keras.Model
    pretrained: bool
    auxiliary: tuple[keras.KerasTensor, ...] = ()

    @property
    def backbone_layers(self) -> list[Any]:
        """Operations of the backbone, in graph order; none for a network that is only a head."""
        return list(self.model.operations[self.backbone_start : self.head_start])

    @property
    def backbone_start(self) -> int:
        """Index of the first operation above the preprocessing."""
        names = [operation.name for operation in self.model.operations]
        return 1 + max(n for n, name in enumerate(names) if name in (PIXELS, ADAPTER) or name.startswith(PREPROCESSING))

    @property
    def head_start(self) -> int:
        """Index of the head's first operation."""
        names = [operation.name for operation in self.model.operations]
        return next(index for index, name in enumerate(names) if name.startswith(HEAD))

    @property
    def auxiliary_layers(self) -> list[keras.layers.Layer]:
        """Layers of the auxiliary classifiers."""
        if not self.auxiliary:
            return []
        names = {layer.name for layer in self.model.layers}
        whole = import_keras().Model(self.model.inputs, list(self.auxiliary))
        return [layer for layer in whole.layers if layer.name not in names]


def image_size(config: Config) -> tuple[int, int]:
    """Return height and width of the classifier's input in pixels; default: those of the first backbone."""
    size = config.data.image_size or config.backbones[0].network.input_size
    return (size, size) if isinstance(size, int) else size


@standard_settings()
def build_classifier(config: Config, n_classes: int, *, load_weights: bool = True) -> Classifier:
    """Build the classifier of a config and load the backbone's weights.

    Args:
        config: Its `data`, `backbone`, `head` and `seed` are used.
        n_classes: Number of classes, at least 2, or of labels.
        load_weights: Whether to load the backbone's weights. Otherwise, the graph is the same with random weights.

    Raises:
        WeightsError: The weights cannot be downloaded or read, or belong to a different network.
        ConfigError: A setting is invalid for this network, such as an unknown `output_layer`.
        RuntimeError: The architecture uses a layer class that its `LAYERS` lacks.
    """
    keras = import_keras()
    height, width = image_size(config)
    pixels = keras.Input((height, width, config.data.channels), name=PIXELS)
    if len(config.backbones) == 1:
        features = _features_of(config.backbones[0], pixels, config, load_weights)
    else:
        features = _concatenated_features(pixels, config, load_weights)
    scores = build_head(features, config.head, n_classes, config.seed, config.data.labels.is_multi_label)
    model = keras.Model(pixels, scores, name="classifier")
    try:
        check_description(json.loads(model.to_json()))
    except ValueError as error:
        modules = " or ".join(architecture_of(backbone.network).__name__ for backbone in config.backbones)
        text = f"{modules}: the saved classifier could not be loaded ({error}). Add the class to LAYERS."
        raise RuntimeError(text) from error
    return Classifier(model, config.is_pretrained, _build_auxiliary(model, config, n_classes))


def _features_of(
    backbone: BackboneConfig, pixels: keras.KerasTensor, config: Config, load_weights: bool
) -> keras.KerasTensor:
    """Add a backbone to the graph, with its adapter and preprocessing, and return its features."""
    _, height, width, _ = pixels.shape
    channels = backbone.network.trained_channels if backbone.is_pretrained else config.data.channels
    network = build_backbone(backbone, (height, width, channels), config.seed, load_weights=load_weights)
    adapted = adapt_channels(pixels) if backbone.adapter == "conv1x1" else pixels
    kind = backbone.preprocessing or backbone.network.preprocessing
    (features,) = replay(network, [preprocess(adapted, kind, repeat_gray=channels == 3 and backbone.is_pretrained)])
    return features


def _concatenated_features(pixels: keras.KerasTensor, config: Config, load_weights: bool) -> keras.KerasTensor:
    """Add several backbones to the graph, and return their pooled features as one vector."""
    keras = import_keras()
    vectors = []
    for number, backbone in enumerate(config.backbones):
        vector = pool(_features_of(backbone, pixels, config, load_weights), config.head.pooling)
        for operation in keras.Model(pixels, vector).operations[1:]:
            operation.name = f"{branch_prefix(number)}{operation.name}"
        vectors.append(vector)
    return keras.layers.Concatenate(name=CONCATENATED)(vectors)


def branch_prefix(number: int) -> str:
    """Return the beginning of the names of the layers of one of several backbones."""
    return f"backbone_{number}_"


def _build_auxiliary(model: keras.Model, config: Config, n_classes: int) -> tuple[keras.KerasTensor, ...]:
    """Add the auxiliary classifiers of the only network, if it has any, to the graph of the classifier."""
    if len(config.backbones) > 1:
        return ()
    units = output_units(config.head, n_classes, config.data.labels.is_multi_label)
    return build_auxiliary(model, config.backbones[0], units)


def build_auxiliary(model: keras.Model, backbone: BackboneConfig, units: int) -> tuple[keras.KerasTensor, ...]:
    """Add the auxiliary classifiers of a backbone, if it has any, to a graph that contains it.

    Returns:
        Logits (batch, units) of each; none if the backbone ends at one of its layers.
    """
    build = getattr(architecture_of(backbone.network), "build_auxiliary", None)
    if build is None or backbone.output_layer is not None:
        return ()
    return tuple(build(model, with_defaults(backbone.network.options, backbone.options), units))


def save_classifier(classifier: Classifier, path: Path) -> None:
    """Write the classifier atomically as `.keras`; bare Keras loads it in safe mode."""
    with replacing(path) as temporary:
        classifier.model.save(temporary)


@standard_settings()
def load_classifier(path: Path, pretrained: bool) -> Classifier:
    """Load the classifier that a run saved as `model.keras`; other models are refused.

    Raises:
        RunError: The file is missing, damaged, or not such a classifier.
    """
    import_keras()
    try:
        model = load_saved_model(path)
        names = [operation.name for operation in model.operations]
        if len(model.outputs) != 1 or names[0] != PIXELS or LOGITS not in names:
            raise ValueError(f"it has no input {PIXELS}, no layer {LOGITS}, or several outputs")
    except Exception as error:  # Keras may raise anything for a file that is not a classifier
        raise damaged(path, f"cannot be read ({reason_of(error)})") from error
    return Classifier(model, pretrained)
