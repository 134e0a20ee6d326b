"""ConvNet: blocks of convolutions and max-pooling, for training from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnncli.catalogue.networks import NetworkInfo
from cnncli.errors import ConfigError, Message
from cnncli.networks.architectures import Network
from cnncli.networks.backend import import_keras

if TYPE_CHECKING:
    import keras


def build(
    info: NetworkInfo,
    input_shape: tuple[int, int, int],
    options: Mapping[str, Any],
    _imagenet: bool,
    *,
    top: bool = False,  # noqa: ARG001 - it has no published top
) -> Network:
    """Build a plain convolutional network of blocks with the given `filters`; see `architectures`.

    Raises:
        ConfigError: The image is too small for the number of blocks.
    """
    _check_size(info.name, input_shape, options)
    keras = import_keras()
    images = keras.Input(input_shape, name="input_layer")
    x = images
    for number, filters in enumerate(options["filters"], start=1):
        x = _block(x, filters, options, f"block{number}_")
    return Network(keras.Model(images, x, name="convnet"))


def _block(x: keras.KerasTensor, filters: int, options: Mapping[str, Any], name: str) -> keras.KerasTensor:
    layers = import_keras().layers
    for position in range(options["convolutions"]):
        # block1_conv for one convolution, block1_conv1, block1_conv2 … for several, as in VGG.
        which = f"{name}conv{position + 1 if options['convolutions'] > 1 else ''}"
        x = layers.Conv2D(
            filters, options["kernel_size"], padding=options["padding"], use_bias=not options["batch_norm"], name=which
        )(x)
        if options["batch_norm"]:
            x = layers.BatchNormalization(name=f"{which}_bn")(x)
        x = layers.Activation(options["activation"], name=f"{which}_activation")(x)
    if options["pool_size"] > 1:
        x = layers.MaxPooling2D(options["pool_size"], name=f"{name}pool")(x)
    if options["dropout"] > 0:
        x = layers.Dropout(options["dropout"], name=f"{name}dropout")(x)
    return x


def _check_size(name: str, input_shape: tuple[int, int, int], options: Mapping[str, Any]) -> None:
    shrink = options["kernel_size"] - 1 if options["padding"] == "valid" else 0
    side = min(input_shape[:2])
    for number, _ in enumerate(options["filters"], start=1):
        side = (side - options["convolutions"] * shrink) // options["pool_size"]
        if side < 1:
            text = (
                f"data.image_size: too small for {name} (received {list(input_shape[:2])}): no pixels are left after "
                f"block {number}. Increase data.image_size, use fewer blocks, or set padding: same"
            )
            facts = {"key": "data.image_size", "received": input_shape[:2], "block": number}
            raise ConfigError(Message("config-image-size-too-small", text, **facts))
