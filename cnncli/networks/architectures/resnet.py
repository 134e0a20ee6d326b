"""Residual networks without ImageNet weights in Keras, and the plain networks they are compared with.

ResNet18/34, ResNet20 … 110 for CIFAR, and plain twins without shortcuts: He et al. 2015 (arXiv 1512.03385), table 1 and
section 4.2. ResNeXt50/101 (32×4d): Xie et al. 2016 (arXiv 1611.05431), table 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnncli.networks.architectures import Network, NetworkSpec
from cnncli.networks.architectures.parts import convolution, pooled_top
from cnncli.networks.backend import import_keras
from cnncli.networks.layers import pool

if TYPE_CHECKING:
    import keras

BLOCKS = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3), "50": (3, 4, 6, 3), "101": (3, 4, 23, 3)}
"""Residual blocks of each stage, by the number of weighted layers in the name."""
CARDINALITY, GROUP_WIDTH = 32, 4
"""Groups of ResNeXt's convolutions, and filters of each group in the first stage."""


def build(spec: NetworkSpec) -> Network:
    """Build a residual or plain network; see `architectures`."""
    keras = import_keras()
    images = keras.Input(spec.input_shape, name="input_layer")
    x = _cifar(images, spec.options) if "n" in spec.options else _large(images, spec.info.name, spec.options)
    if spec.top:
        x = pooled_top(x, spec.info.top_classes)
    return Network(keras.Model(images, x, name=spec.info.name.lower()))


def _large(x: keras.KerasTensor, name: str, options: Mapping[str, Any]) -> keras.KerasTensor:
    """Add four stages of basic blocks or ResNeXt's bottlenecks, for images of about 224 pixels."""
    kind = name.rstrip("0123456789")
    x = convolution(x, 64, 7, 2, 3, batch_norm=True, name="conv1")
    x = pool(x, "max", 3, 2, 1, name="pool1")
    for stage, n_blocks in enumerate(BLOCKS[name.removeprefix(kind)]):
        for block in range(n_blocks):
            filters, stride, prefix = (
                64 * 2**stage,
                2 if stage and not block else 1,
                f"conv{stage + 2}_block{block + 1}",
            )
            if kind == "ResNeXt":
                x = _bottleneck(x, filters, stride, prefix)
            else:
                x = _basic_block(x, filters, stride, options["shortcut"], prefix)
    return x


def _cifar(x: keras.KerasTensor, options: Mapping[str, Any]) -> keras.KerasTensor:
    """Add three stages of n basic blocks with 16, 32 and 64 filters, for images of 32 pixels: 6n + 2 layers."""
    x = convolution(x, 16, 3, batch_norm=True, name="conv1")
    for stage in range(3):
        for block in range(options["n"]):
            stride = 2 if stage and not block else 1
            x = _basic_block(x, 16 * 2**stage, stride, options["shortcut"], f"conv{stage + 2}_block{block + 1}")
    return x


def _basic_block(x: keras.KerasTensor, filters: int, stride: int, shortcut: str, name: str) -> keras.KerasTensor:
    """Add two 3 × 3 convolutions and the shortcut around them, if there is one."""
    layers = import_keras().layers
    residual = convolution(x, filters, 3, stride, 1, batch_norm=True, name=f"{name}_conv1")
    has_shortcut = shortcut != "none"
    activation = None if has_shortcut else "relu"
    residual = convolution(residual, filters, 3, batch_norm=True, activation=activation, name=f"{name}_conv2")
    if not has_shortcut:
        return residual
    x = layers.Add(name=f"{name}_add")([_match(x, filters, stride, shortcut, name), residual])
    return layers.Activation("relu", name=f"{name}_out")(x)


def _bottleneck(x: keras.KerasTensor, filters: int, stride: int, name: str) -> keras.KerasTensor:
    """Add ResNeXt's bottleneck: 1 × 1, grouped 3 × 3 and 1 × 1 convolutions, and a shortcut."""
    layers = import_keras().layers
    width = filters // 64 * GROUP_WIDTH * CARDINALITY
    residual = convolution(x, width, 1, batch_norm=True, name=f"{name}_conv1")
    residual = convolution(residual, width, 3, stride, 1, groups=CARDINALITY, batch_norm=True, name=f"{name}_conv2")
    residual = convolution(residual, 4 * filters, 1, batch_norm=True, activation=None, name=f"{name}_conv3")
    x = layers.Add(name=f"{name}_add")([_match(x, 4 * filters, stride, "projection", name), residual])
    return layers.Activation("relu", name=f"{name}_out")(x)


def _match(x: keras.KerasTensor, filters: int, stride: int, shortcut: str, name: str) -> keras.KerasTensor:
    """Give a shortcut the shape of its block: by a projection (option B of the paper), or by zeros (option A)."""
    layers = import_keras().layers
    if stride == 1 and x.shape[-1] == filters:
        return x
    if shortcut == "projection":
        return convolution(x, filters, 1, stride, "valid", batch_norm=True, activation=None, name=f"{name}_shortcut")
    x = layers.MaxPooling2D(1, stride, name=f"{name}_subsample")(x)
    # With channels first, (height, width, channels) are channels, height and width: padding is along the channels.
    missing = filters - x.shape[-1]
    padding = ((0, 0), (missing // 2, missing - missing // 2))
    return layers.ZeroPadding2D(padding, data_format="channels_first", name=f"{name}_shortcut")(x)
