"""EfficientNetLite0 after the EfficientNet paper (arXiv 1905.11946) in its Lite form.

Without squeeze-and-excitation, ReLU6 instead of swish, stem and head not scaled. Layers are named as in Keras's
EfficientNet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnncli.networks.backend import import_keras

if TYPE_CHECKING:
    import keras

STEM_FILTERS = 32
TOP_FILTERS = 1280
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.99


@dataclass(frozen=True)
class BlockGroup:
    """A row of table 1 of the paper: blocks that share kernel and filters; the first has the stride."""

    kernel: int
    stride: int
    expansion: int
    filters: int
    blocks: int


GROUPS = (
    BlockGroup(3, 1, 1, 16, 1),
    BlockGroup(3, 2, 6, 24, 2),
    BlockGroup(5, 2, 6, 40, 2),
    BlockGroup(3, 2, 6, 80, 3),
    BlockGroup(5, 1, 6, 112, 3),
    BlockGroup(5, 2, 6, 192, 4),
    BlockGroup(3, 1, 6, 320, 1),
)


def build_efficientnet_lite0(input_shape: tuple[int, int, int], classes: int | None = None) -> keras.Model:
    """EfficientNetLite0 on preprocessed images.

    Args:
        input_shape: (height, width, 3).
        classes: adds the ImageNet top with this many classes (pooling, dense, softmax); None: the backbone alone.
    Returns: images (batch, height, width, 3) → (batch, height/32, width/32, 1280), or → (batch, classes).
    """
    keras = import_keras()
    images = keras.Input(input_shape, name="input_layer")
    x = _convolution(images, STEM_FILTERS, 3, 2, "stem")
    for number, group in enumerate(GROUPS, start=1):
        for position in range(group.blocks):
            x = _block(x, group, first=position == 0, name=f"block{number}{chr(ord('a') + position)}_")
    x = _convolution(x, TOP_FILTERS, 1, 1, "top")
    if classes is not None:
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = keras.layers.Dropout(0.2, name="top_dropout")(x)
        x = keras.layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(images, x, name="efficientnetlite0")


def block_names() -> tuple[str, ...]:
    """Prefix of each block's layers, from the image up: `block1a_`, `block2a_`, `block2b_` …"""
    return tuple(
        f"block{number}{chr(ord('a') + position)}_"
        for number, group in enumerate(GROUPS, start=1)
        for position in range(group.blocks)
    )


def _block(x: keras.KerasTensor, group: BlockGroup, *, first: bool, name: str) -> keras.KerasTensor:
    """An inverted residual: expand, filter each channel, project; added to its input where the shapes agree."""
    keras = import_keras()
    block_input, stride = x, group.stride if first else 1
    if group.expansion > 1:
        x = _convolution(x, x.shape[-1] * group.expansion, 1, 1, f"{name}expand")
    x = keras.layers.DepthwiseConv2D(
        group.kernel, stride, padding="same", use_bias=False, depthwise_initializer="he_normal", name=f"{name}dwconv"
    )(x)
    x = keras.layers.ReLU(6.0, name=f"{name}activation")(_batch_norm(x, f"{name}bn"))
    x = _convolution(x, group.filters, 1, 1, f"{name}project", activation=False)
    if stride == 1 and block_input.shape[-1] == group.filters:
        x = keras.layers.Add(name=f"{name}add")([x, block_input])
    return x


def _convolution(
    x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str, activation: bool = True
) -> keras.KerasTensor:
    keras = import_keras()
    x = keras.layers.Conv2D(
        filters, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    x = _batch_norm(x, f"{name}_bn")
    return keras.layers.ReLU(6.0, name=f"{name}_activation")(x) if activation else x


def _batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    keras = import_keras()
    return keras.layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=name)(x)
