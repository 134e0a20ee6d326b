"""SqueezeNet 1.0 and 1.1: Iandola et al. 2016 (arXiv 1602.07360), and github.com/forresti/SqueezeNet for 1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnncli.networks.architectures import Network, NetworkSpec
from cnncli.networks.architectures.parts import convolution, pool_up
from cnncli.networks.backend import import_keras

if TYPE_CHECKING:
    import keras

FIRST = {1.0: (96, 7), 1.1: (64, 3)}
"""Filters and kernel size of the first convolution."""
POOLED = {1.0: (1, 4, 8), 1.1: (1, 3, 5)}
"""Modules, counted from the first convolution, with max-pooling behind them."""
SQUEEZED = (16, 16, 32, 32, 48, 48, 64, 64)
"""Filters of the 1 × 1 convolution of each fire module; the others have four times as many each."""


def build(spec: NetworkSpec) -> Network:
    """Build SqueezeNet; see `architectures`."""
    keras = import_keras()
    version = spec.options["version"]
    filters, kernel_size = FIRST[version]
    images = keras.Input(spec.input_shape, name="input_layer")
    x = convolution(images, filters, kernel_size, 2, "valid", name="conv1")
    x = pool_up(x, name="pool1")
    for number, squeezed in enumerate(SQUEEZED, start=2):
        x = _fire(x, squeezed, f"fire{number}")
        x = pool_up(x, name=f"pool{number}") if number in POOLED[version] else x
    if spec.top:
        x = keras.layers.Dropout(0.5, name="top_dropout")(x)
        x = convolution(x, spec.info.top_classes, 1, name="conv10")
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = keras.layers.Activation("softmax", name="predictions")(x)
    return Network(keras.Model(images, x, name="squeezenet"))


def _fire(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Add a fire module: squeeze to few channels, and expand them by 1 × 1 and 3 × 3 convolutions."""
    x = convolution(x, filters, 1, name=f"{name}_squeeze")
    expanded = [convolution(x, 4 * filters, kernel, name=f"{name}_expand{kernel}x{kernel}") for kernel in (1, 3)]
    return import_keras().layers.Concatenate(name=name)(expanded)
