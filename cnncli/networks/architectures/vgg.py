"""VGG's configurations A, A-LRN, B and C, and SmallerVGGNet.

VGG: Simonyan and Zisserman 2014 (arXiv 1409.1556), table 1. Configurations D and E are VGG16 and VGG19 of Keras, whose
names the layers have. C has 1 × 1 convolutions at the end of its last three blocks.

SmallerVGGNet: Rosebrock 2018, pyimagesearch.com, "Keras and convolutional neural networks": batch normalization after
the activation, for images of 96 × 96 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnncli.networks.architectures import Network, NetworkSpec
from cnncli.networks.architectures.parts import convolution, dense_top, normalization
from cnncli.networks.backend import import_keras
from cnncli.networks.layers import local_response_normalization

if TYPE_CHECKING:
    import keras

TOP_LAYERS = ("fc1", "fc2")
TOP_UNITS = 4096
FILTERS = (64, 128, 256, 512, 512)
# Kernel sizes of each block.
CONFIGURATIONS = {
    "VGG11": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "VGG13": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "VGG16C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
}
SMALLER_BLOCKS = ((32, 1, 3), (64, 2, 2), (128, 2, 2))
"""Filters, convolutions and pool size of each block of SmallerVGGNet."""


def build(spec: NetworkSpec) -> Network:
    """Build a VGG or SmallerVGGNet; see `architectures`."""
    keras = import_keras()
    images = keras.Input(spec.input_shape, name="input_layer")
    smaller, classes, dropout = spec.info.name == "SmallerVGGNet", spec.info.top_classes, spec.options["dropout"]
    x = _smaller(images, dropout) if smaller else _blocks(images, CONFIGURATIONS[spec.info.name], spec.options)
    if spec.top:
        units = (TOP_UNITS,) * 2
        x = _smaller_top(x, classes) if smaller else dense_top(x, units, classes, names=TOP_LAYERS, dropout=dropout)
    return Network(keras.Model(images, x, name=spec.info.name.lower()))


def _blocks(
    x: keras.KerasTensor, configuration: tuple[tuple[int, ...], ...], options: Mapping[str, Any]
) -> keras.KerasTensor:
    layers = import_keras().layers
    for block, (filters, kernels) in enumerate(zip(FILTERS, configuration, strict=True), start=1):
        for number, kernel in enumerate(kernels, start=1):
            name = f"block{block}_conv{number}"
            x = convolution(x, filters, kernel, batch_norm=options["batch_norm"], name=name)
        if block == 1 and options.get("lrn"):
            x = local_response_normalization(x, name="block1_norm")
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return x


def _smaller(x: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    layers = import_keras().layers
    for block, (filters, convolutions, pool_size) in enumerate(SMALLER_BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            name = f"block{block}_conv{number}"
            x = layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal", name=name)(x)
            x = normalization(layers.Activation("relu", name=f"{name}_activation")(x), name=f"{name}_bn")
        x = layers.MaxPooling2D(pool_size, name=f"block{block}_pool")(x)
        if dropout > 0:
            x = layers.Dropout(dropout, name=f"block{block}_dropout")(x)
    return x


def _smaller_top(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    layers = import_keras().layers
    x = layers.Dense(1024, activation="relu", name="fc1")(layers.Flatten(name="flatten")(x))
    x = layers.Dropout(0.5, name="fc1_dropout")(normalization(x, name="fc1_bn"))
    return layers.Dense(classes, activation="softmax", name="predictions")(x)
