"""Parts that several architectures share: convolutions with batch normalization, pooling, and tops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnncli.errors import ConfigError, Message
from cnncli.networks.backend import import_keras
from cnncli.networks.layers import Padding, pad

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras

BATCH_NORM_MOMENTUM = 0.9
BATCH_NORM_EPSILON = 1e-5
"""As in the papers. Keras's default momentum of 0.99 needs hundreds of steps before its statistics are usable."""


def convolution(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    strides: int = 1,
    padding: Padding = "same",
    *,
    name: str,
    activation: str | None = "relu",
    batch_norm: bool = False,
    groups: int = 1,
) -> keras.KerasTensor:
    """Add a convolution, batch normalization (which replaces the bias) and activation.

    The layers are called NAME, NAME_bn and NAME_activation; without batch normalization, NAME has the activation.
    Kernels are initialized after He et al. (arXiv 1502.01852) before ReLU, else after Glorot.
    """
    layers = import_keras().layers
    x, padding = pad(x, padding, name=name)
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding,
        groups=groups,
        activation=None if batch_norm else activation,
        use_bias=not batch_norm,
        kernel_initializer="he_normal" if activation in ("relu", None) else "glorot_uniform",
        name=name,
    )(x)
    if not batch_norm:
        return x
    x = normalization(x, name=f"{name}_bn")
    return x if activation is None else layers.Activation(activation, name=f"{name}_activation")(x)


def normalization(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """Add batch normalization."""
    layers = import_keras().layers
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=name)(x)


def pool_up(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """Add max-pooling of 3 × 3 pixels with stride 2, whose output size is rounded up, as in Caffe.

    Activations must not be negative, because zeros are added below and on the right.
    """
    layers = import_keras().layers
    missing = [1 - side % 2 for side in x.shape[1:3]]
    if any(missing):
        x = layers.ZeroPadding2D(((0, missing[0]), (0, missing[1])), name=f"{name}_pad")(x)
    return layers.MaxPooling2D(3, 2, name=name)(x)


def dense_top(
    x: keras.KerasTensor,
    units: Sequence[int],
    classes: int,
    *,
    names: Sequence[str],
    dropout: float,
    activation: str = "relu",
) -> keras.KerasTensor:
    """Add a top of dense layers on all pixels, each followed by dropout, and the probabilities of the classes."""
    layers = import_keras().layers
    x = layers.Flatten(name="flatten")(x)
    for number, name in zip(units, names, strict=True):
        x = layers.Dense(number, activation=activation, name=name)(x)
        if dropout > 0:
            x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return layers.Dense(classes, activation="softmax", name="predictions")(x)


def pooled_top(x: keras.KerasTensor, classes: int, *, dropout: float = 0.0) -> keras.KerasTensor:
    """Add a top of global average pooling and one dense layer with the probabilities of the classes."""
    layers = import_keras().layers
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if dropout > 0:
        x = layers.Dropout(dropout, name="top_dropout")(x)
    return layers.Dense(classes, activation="softmax", name="predictions")(x)


def option_error(name: str, option: str, received: object, expected: str) -> ConfigError:
    """Return the error for an option of a network that does not fit the image size or other options."""
    key = f"backbone.options.{option}"
    text = f"{key}: not possible for {name} (received {received}), expected {expected}."
    return ConfigError(Message("config-argument-not-allowed", text, key=key, received=received, expected=expected))
