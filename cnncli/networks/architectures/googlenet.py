"""GoogLeNet, Inception v1: Szegedy et al. 2014 (arXiv 1409.4842), with its auxiliary classifiers.

With batch normalization (Ioffe and Szegedy 2015, arXiv 1502.03167, section 4.2.2), it has no local response
normalization; there, its activation can also be the sigmoid.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cnncli.networks.architectures import Network, NetworkSpec
from cnncli.networks.architectures.parts import convolution, pool_up, pooled_top
from cnncli.networks.backend import import_keras
from cnncli.networks.graph import output_of
from cnncli.networks.layers import local_response_normalization

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras

# Table 1 of the paper: 1×1, 3×3 reduced and full, 5×5 reduced and full, projection of the pooling.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
POOLED = ("3b", "4e")
"""Modules with max-pooling behind them."""
AUXILIARY = {"auxiliary1": "4a", "auxiliary2": "4d"}
"""Auxiliary classifiers with the module that each of them is attached to."""


def build(spec: NetworkSpec) -> Network:
    """Build GoogLeNet; see `architectures`."""
    keras = import_keras()
    convolve = partial(convolution, activation=spec.options["activation"], batch_norm=spec.options["batch_norm"])
    normalize = spec.options["lrn"] and not spec.options["batch_norm"]
    images = keras.Input(spec.input_shape, name="input_layer")
    x = convolve(images, 64, 7, 2, 3, name="conv1")
    x = pool_up(x, name="pool1")
    x = local_response_normalization(x, name="norm1") if normalize else x
    x = convolve(x, 64, 1, name="conv2_reduce")
    x = convolve(x, 192, 3, name="conv2")
    x = local_response_normalization(x, name="norm2") if normalize else x
    x = pool_up(x, name="pool2")
    for module, filters in MODULES.items():
        x = _module(x, filters, f"inception_{module}", convolve)
        x = pool_up(x, name=f"pool{module[0]}") if module in POOLED else x
    if spec.top:
        x = pooled_top(x, spec.info.top_classes, dropout=0.4)
    return Network(keras.Model(images, x, name="googlenet"))


def _module(
    x: keras.KerasTensor, filters: tuple[int, ...], name: str, convolve: Callable[..., keras.KerasTensor]
) -> keras.KerasTensor:
    layers = import_keras().layers
    one, reduced3, three, reduced5, five, projected = filters
    branches = [
        convolve(x, one, 1, name=f"{name}_1x1"),
        convolve(convolve(x, reduced3, 1, name=f"{name}_3x3_reduce"), three, 3, name=f"{name}_3x3"),
        convolve(convolve(x, reduced5, 1, name=f"{name}_5x5_reduce"), five, 5, name=f"{name}_5x5"),
        convolve(layers.MaxPooling2D(3, 1, "same", name=f"{name}_pool")(x), projected, 1, name=f"{name}_pool_proj"),
    ]
    return layers.Concatenate(name=name)(branches)


def build_auxiliary(model: keras.Model, options: Mapping[str, Any], units: int) -> list[keras.KerasTensor]:
    """Return the logits (batch, units) of both auxiliary classifiers in the graph of a GoogLeNet.

    Average pooling of 5 × 5 pixels with stride 3, a 1 × 1 convolution with 128 filters, a dense layer of 1,024, dropout
    of 0.7 and a dense layer, as in the paper.
    """
    return [
        _classifier(output_of(model, f"inception_{module}"), options, units, name)
        for name, module in AUXILIARY.items()
        if options["auxiliary"]
    ]


def _classifier(x: keras.KerasTensor, options: Mapping[str, Any], units: int, name: str) -> keras.KerasTensor:
    layers = import_keras().layers
    activation = options["activation"]
    x = layers.AveragePooling2D(min(5, *x.shape[1:3]), 3, name=f"{name}_pool")(x)
    x = convolution(x, 128, 1, activation=activation, batch_norm=options["batch_norm"], name=f"{name}_conv")
    x = layers.Dense(1024, activation=activation, name=f"{name}_fc")(layers.Flatten(name=f"{name}_flatten")(x))
    return layers.Dense(units, name=f"{name}_logits")(layers.Dropout(0.7, name=f"{name}_dropout")(x))
