"""Build the head: pooling, the layers of a config, and an output with one score per class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cnncli.catalogue.windows import pair
from cnncli.config.head_settings import (
    ActivationLayer,
    BatchNormLayer,
    ConvLayer,
    DenseLayer,
    DropoutLayer,
    HeadConfig,
    HeadLayer,
)
from cnncli.networks.backend import import_keras
from cnncli.networks.layers import initializer_of
from cnncli.runtime.random_keys import key_of

if TYPE_CHECKING:
    import keras

HEAD = "head_"
"""Beginning of the names of a head's layers."""
LOGITS = "head_logits"
CONCATENATED = "concatenated_features"
"""Name of the layer below the head that concatenates the pooled features of several backbones."""


def output_units(head: HeadConfig, n_classes: int, is_multi_label: bool = False) -> int:
    """Return the number of scores: one per class, or a single score for two classes with sigmoid."""
    return 1 if head.activation == "sigmoid" and n_classes == 2 and not is_multi_label else n_classes


def build_head(
    features: keras.KerasTensor, head: HeadConfig, n_classes: int, seed: int, is_multi_label: bool = False
) -> keras.KerasTensor:
    """Put pooling, layers and output on top of a backbone's features.

    The last dense layer gives logits, and the output's activation is a separate layer, so that training computes the
    loss from logits. Features are float32 (batch, height, width, channels), or (batch, channels) if there is nothing to
    pool; scores are float32 (batch, `output_units`).
    """
    keras = import_keras()
    x, below = features, layers_before_pooling(head)
    for number, layer in enumerate(head.layers, start=1):
        if number == below + 1:
            x = pool(x, head.pooling)
        x = _build_layer(layer, number, x, seed)(x)
    x = pool(x, head.pooling) if below == len(head.layers) else x
    first = keras.initializers.GlorotUniform(seed=seed_of(seed, LOGITS))
    logits = _dense(output_units(head, n_classes, is_multi_label), None, head, LOGITS, first)(x)
    if head.activation == "linear":
        return logits
    return keras.layers.Activation(head.activation, name="head_probabilities")(logits)


def layers_before_pooling(head: HeadConfig) -> int:
    """Return the number of layers up to the last convolution and what directly follows it."""
    last = max((number for number, layer in enumerate(head.layers, start=1) if isinstance(layer, ConvLayer)), default=0)
    while last and last < len(head.layers) and isinstance(head.layers[last], BatchNormLayer | ActivationLayer):
        last += 1
    return last


def pool(features: keras.KerasTensor, pooling: str) -> keras.KerasTensor:
    """Reduce feature maps to a vector; a vector is returned unchanged."""
    layers = import_keras().layers
    if len(features.shape) == 2:
        return features
    if pooling == "flatten":
        return layers.Flatten(name="head_flatten")(features)
    layer = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}[pooling]
    return layer(name=f"head_{pooling}_pool")(features)


def _build_layer(layer: HeadLayer, number: int, x: keras.KerasTensor, seed: int) -> keras.layers.Layer:
    keras = import_keras()
    match layer:
        case DenseLayer():
            name = f"head_dense_{number}"
            first = initializer_of(layer.initializer, x.shape[-1], seed_of(seed, name))
            return _dense(layer.dense, layer.activation, layer, name, first)
        case ConvLayer():
            name, size = f"head_conv_{number}", pair(layer.kernel_size)
            return keras.layers.Conv2D(
                layer.conv,
                size,
                layer.strides,
                layer.padding,
                dilation_rate=layer.dilation,
                activation=layer.activation,
                kernel_initializer=initializer_of(
                    layer.initializer, math.prod(size) * x.shape[-1], seed_of(seed, name)
                ),
                kernel_regularizer=_penalty(layer),
                name=name,
            )
        case DropoutLayer():
            name = f"head_dropout_{number}"
            return keras.layers.Dropout(layer.dropout, seed=seed_of(seed, name), name=name)
        case BatchNormLayer():
            return keras.layers.BatchNormalization(name=f"head_batch_norm_{number}")
        case ActivationLayer():
            return keras.layers.Activation(layer.activation, name=f"head_activation_{number}")


def _dense(
    units: int, activation: str | None, penalty: HeadConfig | DenseLayer, name: str, initializer: Any
) -> keras.layers.Dense:
    return import_keras().layers.Dense(
        units,
        activation=activation,
        kernel_initializer=initializer,
        kernel_regularizer=_penalty(penalty),
        name=name,
    )


def _penalty(layer: HeadConfig | DenseLayer | ConvLayer) -> Any:
    return import_keras().regularizers.L1L2(layer.l1, layer.l2 or 0.0) if layer.l1 or layer.l2 else None


def seed_of(seed: int, layer_name: str) -> int:
    """Return the seed of a layer. Layers have independent seeds, so adding a layer does not change the others."""
    return key_of("initial weights", seed, layer_name) & 0x7FFFFFFF
