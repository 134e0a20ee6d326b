"""ConvNet: blocks of convolutions and max-pooling, for training from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnncli.errors import ConfigError
from cnncli.networks.backend import import_keras

if TYPE_CHECKING:
    import keras


def build_convnet(input_shape: tuple[int, int, int], options: Mapping[str, Any]) -> keras.Model:
    """A plain convolutional network on preprocessed images.

    Args:
        input_shape: (height, width, 3).
        options: all the options of ConvNet in the catalogue.
    Returns: images (batch, height, width, 3) → feature maps with as many channels as the last of `filters`.
    Raises: ConfigError: an image of this size does not survive that many blocks.
    """
    _check_size(input_shape, options)
    keras = import_keras()
    images = keras.Input(input_shape, name="input_layer")
    x = images
    for number, filters in enumerate(options["filters"], start=1):
        x = _block(x, filters, options, f"block{number}_")
    return keras.Model(images, x, name="convnet")


def _block(x: keras.KerasTensor, filters: int, options: Mapping[str, Any], name: str) -> keras.KerasTensor:
    layers = import_keras().layers
    for position in range(options["convolutions"]):
        # One convolution: block1_conv; several: block1_conv1, block1_conv2 …, as in VGG.
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


def _check_size(input_shape: tuple[int, int, int], options: Mapping[str, Any]) -> None:
    shrink = options["kernel_size"] - 1 if options["padding"] == "valid" else 0
    side = min(input_shape[:2])
    for number, _ in enumerate(options["filters"], start=1):
        side = (side - options["convolutions"] * shrink) // options["pool_size"]
        if side < 1:
            raise ConfigError(
                f"data.image_size: {input_shape[0]} × {input_shape[1]} pixels are too few for ConvNet: nothing is left "
                f"after block {number} of {len(options['filters'])}; larger images, fewer filters or padding: same"
            )
