"""Architecture of a saved model (`backbone.name: FILE.keras`): a classifier of cnncli, or a flat model of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.errors import ConfigError, Message, WeightsError, printable, reason_of
from cnncli.networks.architectures import Network, NetworkSpec
from cnncli.networks.backend import import_keras
from cnncli.networks.graph import crossing_tensors, replay
from cnncli.networks.head import CONCATENATED, HEAD, LOGITS
from cnncli.networks.weights.saved_model import load_architecture

if TYPE_CHECKING:
    import keras

_REMEDY = "Save keras.Model(inputs, outputs) with one image as input and with layers that cnncli can load."


def build(spec: NetworkSpec) -> Network:
    """Build the network in a file with random weights; see `architectures`.

    A classifier that cnncli saved is built up to its head, including its preprocessing; of other models, all layers.

    Raises:
        WeightsError: The file is missing, damaged, or has layers that cnncli does not load.
        ConfigError: The network does not take images of this shape.
    """
    keras = import_keras()
    path = Path(spec.info.file or "")
    try:
        model = load_architecture(path)
    except Exception as error:  # Keras may raise anything for a file that is not a model
        reason = reason_of(error)
        text = f"{printable(path)}: not a network that can be trained: {reason}. {_REMEDY}"
        raise WeightsError(Message("weights-architecture", text, path=path, reason=reason)) from error
    images = keras.Input(spec.input_shape, name=model.inputs[0].name)  # the layers of its top are part of the network
    try:
        (features,) = replay(_without_head(model), [images])
    except (ValueError, TypeError) as error:
        given, theirs = list(spec.input_shape), list(model.input_shape[1:])
        text = f"data.image_size: {printable(path.name)} does not take images of {given}, but of {theirs}"
        facts = {"key": "data.image_size", "received": given, "expected": theirs}
        raise ConfigError(Message("config-image-shape", text, **facts)) from error
    network = keras.Model(images, features, name="saved")
    for operation in network.operations:
        if operation.name == CONCATENATED:  # the backbones of a saved classifier are one backbone here
            operation.name = "concatenate"
    return Network(network)


def _without_head(model: keras.Model) -> keras.Model:
    names = [operation.name for operation in model.operations]
    if LOGITS not in names:
        return model
    below = crossing_tensors(model, next(number for number, name in enumerate(names) if name.startswith(HEAD)))
    return import_keras().Model(model.inputs, below)
