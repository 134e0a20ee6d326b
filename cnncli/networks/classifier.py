"""The classifier: raw RGB pixels in, class scores out, one flat graph with the preprocessing inside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncli.config.schema import Config
from cnncli.errors import reason_of
from cnncli.networks.backbone import build_backbone
from cnncli.networks.backend import import_keras, standard_settings
from cnncli.networks.graph import replay
from cnncli.networks.head import LOGITS, build_head
from cnncli.networks.preprocessing import preprocess
from cnncli.networks.weights.saved_model import load_saved_model
from cnncli.runs.documents import damaged
from cnncli.storage.atomic import replacing

if TYPE_CHECKING:
    import keras

PIXELS = "pixels"
PREPROCESSING = "preprocess_"
HEAD = "head_"


@dataclass(frozen=True)
class Classifier:
    """A backbone with its head as one functional model.

    Attributes:
        model: float32 (batch, height, width, 3 or 1) in 0-255 to scores (batch, units). Its operations are, in
            order: the input `pixels`; preprocessing, whose layers' names start with `preprocess_`; the backbone's
            under their own names; the head's, whose names start with `head_`.
        pretrained: whether the backbone's weights came from elsewhere; decides whether its batch norm is kept.
    """

    model: keras.Model
    pretrained: bool

    @property
    def backbone_layers(self) -> list[Any]:
        """The backbone's operations, in the order of the graph."""
        names = [operation.name for operation in self.model.operations]
        below = max(index for index, name in enumerate(names) if name == PIXELS or name.startswith(PREPROCESSING))
        above = next(index for index, name in enumerate(names) if name.startswith(HEAD))
        return list(self.model.operations[below + 1 : above])


def image_size(config: Config) -> tuple[int, int]:
    """Return height and width in pixels of the classifier's input; default: those of the backbone."""
    size = config.data.image_size
    if size is None:
        size = config.backbone.network.input_size
    return (size, size) if isinstance(size, int) else size


@standard_settings()
def build_classifier(config: Config, n_classes: int, *, load_weights: bool = True) -> Classifier:
    """Build the classifier of a config and load the backbone's weights.

    Args:
        config: Its `data`, `backbone`, `head` and `seed` are used.
        n_classes: Number of classes, at least 2.
        load_weights: Whether to load the backbone's weights. Without, the graph is the same and its weights are random.

    Raises:
        WeightsError: the weights cannot be fetched or read, or belong to another network.
        ConfigError: a setting that only the network itself can refuse, such as an unknown `output_layer`.
    """
    keras = import_keras()
    height, width = image_size(config)
    backbone = build_backbone(config.backbone, (height, width, 3), config.seed, load_weights=load_weights)
    pixels = keras.Input((height, width, 1 if config.data.color == "grayscale" else 3), name=PIXELS)
    prepared = preprocess(pixels, config.backbone.network.preprocessing)
    (features,) = replay(backbone, [prepared])
    scores = build_head(features, config.head, n_classes, config.seed)
    model = keras.Model(pixels, scores, name="classifier")
    return Classifier(model, pretrained=config.backbone.weights != "none")


def save_classifier(classifier: Classifier, path: Path) -> None:
    """Write the classifier as `.keras` in one step; bare Keras loads it in safe mode."""
    with replacing(path) as temporary:
        classifier.model.save(temporary)


@standard_settings()
def load_classifier(path: Path, pretrained: bool) -> Classifier:
    """Load the classifier that a run saved as `model.keras`; only such a classifier is accepted, whatever its origin.

    Raises:
        RunError: the file is missing, damaged, or holds something else.
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
