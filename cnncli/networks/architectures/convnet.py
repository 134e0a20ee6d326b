"""ConvNet: a list of blocks of convolutions, shortcuts, normalization and pooling, for training from scratch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnncli.catalogue.blocks import Block, PoolingConfig, blocks_of, repeated
from cnncli.catalogue.misfits import find_misfit
from cnncli.catalogue.windows import pair
from cnncli.errors import ConfigError, Message
from cnncli.networks import layers
from cnncli.networks.architectures import Network, NetworkSpec
from cnncli.networks.backend import import_keras
from cnncli.networks.graph import allow_depth

if TYPE_CHECKING:
    import keras

LAYERS = {
    "keras.layers": frozenset({"DepthwiseConv2D", "SeparableConv2D"}),
    "keras.initializers": frozenset({"Orthogonal", "OrthogonalInitializer"}),
}


def build(spec: NetworkSpec) -> Network:
    """Build a network of blocks; see `architectures`. Without blocks, the output is the image itself.

    Raises:
        ConfigError: The image is too small for a block, a shortcut has another shape, or groups do not divide channels.
    """
    keras = import_keras()
    if misfit := find_misfit(spec.options, *spec.input_shape):
        key = f"backbone.options.{misfit.key}"
        text = f"{key}: {misfit.what}, expected {misfit.expected}."
        facts = {"key": key, "received": misfit.received, "expected": misfit.expected}
        raise ConfigError(Message(misfit.code, text, **facts))
    images = keras.Input(spec.input_shape, name="input_layer")
    x = images
    blocks = list(repeated(blocks_of(spec.options)))
    allow_depth(sum(8 * block.convolutions + 8 for _, block in blocks))
    for number, (_, block) in enumerate(blocks, start=1):
        x = _Builder(number, block).build(x)
    return Network(keras.Model(images, x, name="convnet"))


@dataclass(frozen=True)
class _Builder:
    """Builds one block, whose layers are named `block1_…`."""

    number: int
    block: Block

    def build(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Add the layers of the block."""
        block, block_input = self.block, x
        if block.filters is not None:
            for position in range(1, block.convolutions + 1):
                x = self._convolution(x, block_input, position)
        if block.lrn is not None:
            lrn = block.lrn
            x = layers.local_response_normalization(x, lrn.size, lrn.alpha, lrn.beta, lrn.k, name=self._name("lrn"))
        if block.pooling is not None:
            x = self._pool(x, block.pooling)
        if block.dropout > 0:
            x = import_keras().layers.Dropout(block.dropout, name=self._name("dropout"))(x)
        return x

    def _name(self, part: str) -> str:
        return f"block{self.number}_{part}"

    def _convolution(self, x: keras.KerasTensor, block_input: keras.KerasTensor, position: int) -> keras.KerasTensor:
        """Add a convolution with batch normalization and activation, the last one with the shortcut."""
        block, is_last = self.block, position == self.block.convolutions
        # block1_conv for one convolution, block1_conv1, block1_conv2 … for several, as in VGG.
        name = self._name(f"conv{position if block.convolutions > 1 else ''}")
        x = self._convolve(x, block.kernel_size, block.strides if position == 1 else 1, name)
        if block.batch_norm == "before":
            x = import_keras().layers.BatchNormalization(name=f"{name}_bn")(x)
        if is_last and block.add == "before":
            x = self._add_shortcut(x, block_input)
        if block.activation is not None:
            x = import_keras().layers.Activation(block.activation, name=f"{name}_activation")(x)
        if block.batch_norm == "after":
            x = import_keras().layers.BatchNormalization(name=f"{name}_bn")(x)
        return self._add_shortcut(x, block_input) if is_last and block.add == "after" else x

    def _convolve(self, x: keras.KerasTensor, size: Any, strides: Any, name: str) -> keras.KerasTensor:
        keras, block, channels, size = import_keras(), self.block, x.shape[-1], pair(size)
        bias = block.bias if block.bias is not None else block.batch_norm == "none"
        regularizer = self._regularizer()
        settings: dict[str, Any] = {"name": name}
        if block.kind == "locally-connected":
            settings |= {
                "kernel_initializer": self._initializer(math.prod(size) * channels),
                "kernel_regularizer": regularizer,
                "bias_axes": "hwf" if bias else None,
            }
            return layers.locally_connected(x, block.filters or 1, size, strides, block.padding, **settings)
        x, padding = layers.pad(x, block.padding, name=name)
        # Keras's layers take one stride for both directions where both are equal.
        settings |= {"padding": padding, "dilation_rate": block.dilation, "use_bias": bias}
        if block.kind == "separable":
            settings |= {
                "depthwise_initializer": self._initializer(math.prod(size)),
                "pointwise_initializer": self._initializer(channels),
                "depthwise_regularizer": regularizer,
                "pointwise_regularizer": regularizer,
            }
            return keras.layers.SeparableConv2D(block.filters, size, strides, **settings)(x)
        if block.kind == "depthwise":
            settings |= {
                "depth_multiplier": (block.filters or channels) // channels,
                "depthwise_initializer": self._initializer(math.prod(size)),
                "depthwise_regularizer": regularizer,
            }
            return keras.layers.DepthwiseConv2D(size, strides, **settings)(x)
        settings |= {
            "groups": block.groups,
            "kernel_initializer": self._initializer(math.prod(size) * channels // block.groups),
            "kernel_regularizer": regularizer,
        }
        return keras.layers.Conv2D(block.filters, size, strides, **settings)(x)

    def _add_shortcut(self, x: keras.KerasTensor, block_input: keras.KerasTensor) -> keras.KerasTensor:
        block, keras, name = self.block, import_keras(), self._name("shortcut")
        if block.shortcut == "none":
            return x
        if block.shortcut == "projection":
            block_input = keras.layers.Conv2D(
                block.filters,
                1,
                block.strides,
                use_bias=block.batch_norm == "none",
                kernel_initializer=self._initializer(block_input.shape[-1]),
                kernel_regularizer=self._regularizer(),
                name=name,
            )(block_input)
            if block.batch_norm != "none":
                block_input = keras.layers.BatchNormalization(name=f"{name}_bn")(block_input)
        return keras.layers.Add(name=self._name("add"))([x, block_input])

    def _pool(self, x: keras.KerasTensor, pooling: PoolingConfig) -> keras.KerasTensor:
        size, strides, name = pooling.size, pooling.strides, self._name("pool")
        if pooling.kind == "maxout":
            return layers.maxout(x, pair(size)[0], name=name)
        strides = size if strides is None else strides
        return layers.pool(x, pooling.kind, size, strides, pooling.padding, name=name)

    def _regularizer(self) -> Any:
        l1, l2 = self.block.l1, self.block.l2
        return import_keras().regularizers.L1L2(l1, l2) if l1 or l2 else None

    def _initializer(self, fan_in: int) -> Any:
        return layers.initializer_of(self.block.initializer, fan_in)
