"""DenseNet of any depth and growth rate: Huang et al. 2016 (arXiv 1608.06993). DenseNet121, 169 and 201 are Keras's.

Layers are named as in Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnncli.networks.architectures import Network, NetworkSpec
from cnncli.networks.architectures.parts import normalization, pooled_top
from cnncli.networks.backend import import_keras
from cnncli.networks.layers import pool

if TYPE_CHECKING:
    import keras


def build(spec: NetworkSpec) -> Network:
    """Build a DenseNet; see `architectures`."""
    keras = import_keras()
    images = keras.Input(spec.input_shape, name="input_layer")
    x = _stem(images, spec.options)
    for number, n_layers in enumerate(spec.options["dense_blocks"], start=2):
        if number > 2:
            x = _transition(x, spec.options["reduction"], f"pool{number - 1}")
        for layer in range(1, n_layers + 1):
            x = _dense_layer(x, spec.options, f"conv{number}_block{layer}")
    x = _activate(x, "bn", "relu")
    if spec.top:
        x = pooled_top(x, spec.info.top_classes)
    return Network(keras.Model(images, x, name=spec.info.name.lower()))


def _stem(x: keras.KerasTensor, options: Mapping[str, Any]) -> keras.KerasTensor:
    """Add the first convolution: 7 × 7 with pooling, or 3 × 3 for small images.

    It has twice the growth rate as filters with bottlenecks (DenseNet-BC), and 16 without.
    """
    filters = 2 * options["growth_rate"] if options["bottleneck"] else 16
    if options["stem"] == "cifar":
        return _convolution(x, filters, 3, name="conv1_conv")
    x = import_keras().layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = _convolution(x, filters, 7, 2, "valid", name="conv1_conv")
    return pool(_activate(x, "conv1_bn", "conv1_relu"), "max", 3, 2, 1, name="pool1")


def _dense_layer(x: keras.KerasTensor, options: Mapping[str, Any], name: str) -> keras.KerasTensor:
    """Add `growth_rate` feature maps, computed from all maps so far."""
    layers, growth_rate = import_keras().layers, options["growth_rate"]
    new = _activate(x, f"{name}_0_bn", f"{name}_0_relu")
    if options["bottleneck"]:
        new = _convolution(new, 4 * growth_rate, 1, name=f"{name}_1_conv")
        new = _activate(new, f"{name}_1_bn", f"{name}_1_relu")
    new = _convolution(new, growth_rate, 3, name=f"{name}_2_conv")
    if options["dropout"] > 0:
        new = layers.Dropout(options["dropout"], name=f"{name}_dropout")(new)
    return layers.Concatenate(name=f"{name}_concat")([x, new])


def _transition(x: keras.KerasTensor, reduction: float, name: str) -> keras.KerasTensor:
    x = _activate(x, f"{name}_bn", f"{name}_relu")
    x = _convolution(x, max(1, int(x.shape[-1] * reduction)), 1, name=f"{name}_conv")
    return import_keras().layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def _activate(x: keras.KerasTensor, bn: str, relu: str) -> keras.KerasTensor:
    return import_keras().layers.Activation("relu", name=relu)(normalization(x, name=bn))


def _convolution(
    x: keras.KerasTensor, filters: int, kernel_size: int, strides: int = 1, padding: str = "same", *, name: str
) -> keras.KerasTensor:
    """Add a convolution in front of which activation and normalization come."""
    layers = import_keras().layers
    return layers.Conv2D(
        filters, kernel_size, strides, padding, use_bias=False, kernel_initializer="he_normal", name=name
    )(x)
