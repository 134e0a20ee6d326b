"""ShuffleNetV2: Ma et al. 2018 (arXiv 1807.11164)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnncli.networks.architectures import Network, NetworkSpec
from cnncli.networks.architectures.parts import convolution, normalization, pooled_top
from cnncli.networks.backend import import_keras
from cnncli.networks.layers import channel_shuffle, pad, pool

if TYPE_CHECKING:
    import keras

STEM_FILTERS = 24
REPEATS = (4, 8, 4)
# Table 5 of the paper: filters of the three stages and of the last convolution.
FILTERS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}


def build(spec: NetworkSpec) -> Network:
    """Build ShuffleNetV2; see `architectures`."""
    keras = import_keras()
    *stages, last = FILTERS[spec.options["width"]]
    images = keras.Input(spec.input_shape, name="input_layer")
    x = convolution(images, STEM_FILTERS, 3, 2, 1, batch_norm=True, name="conv1")
    x = pool(x, "max", 3, 2, 1, name="pool1")
    for stage, (filters, repeats) in enumerate(zip(stages, REPEATS, strict=True), start=2):
        for unit in range(1, repeats + 1):
            x = _unit(x, filters, 2 if unit == 1 else 1, f"stage{stage}_unit{unit}")
    x = convolution(x, last, 1, batch_norm=True, name="conv5")
    if spec.top:
        x = pooled_top(x, spec.info.top_classes)
    return Network(keras.Model(images, x, name="shufflenetv2"))


def _unit(x: keras.KerasTensor, filters: int, stride: int, name: str) -> keras.KerasTensor:
    """Split the channels, convolve one half, and shuffle; with stride 2, convolve all channels in both branches."""
    layers, half = import_keras().layers, filters // 2
    if stride == 1:
        left, x = (_half(x, part, f"{name}_{part}") for part in ("left", "right"))
    else:
        left = _depthwise(x, stride, f"{name}_left_depthwise")
        left = convolution(left, half, 1, batch_norm=True, name=f"{name}_left_conv")
    x = convolution(x, half, 1, batch_norm=True, name=f"{name}_conv1")
    x = _depthwise(x, stride, f"{name}_depthwise")
    x = convolution(x, half, 1, batch_norm=True, name=f"{name}_conv2")
    return channel_shuffle(layers.Concatenate(name=f"{name}_concat")([left, x]), 2, name=name)


def _half(x: keras.KerasTensor, part: str, name: str) -> keras.KerasTensor:
    """Return the first or the second half of the channels."""
    half = x.shape[-1] // 2
    # With channels first, (height, width, channels) are channels, height and width: cropping is along the channels.
    cropping = ((0, 0), (0, half) if part == "left" else (half, 0))
    return import_keras().layers.Cropping2D(cropping, data_format="channels_first", name=name)(x)


def _depthwise(x: keras.KerasTensor, stride: int, name: str) -> keras.KerasTensor:
    x, padding = pad(x, 1 if stride > 1 else "same", name=name)
    layers = import_keras().layers
    x = layers.DepthwiseConv2D(3, stride, padding, use_bias=False, depthwise_initializer="he_normal", name=name)(x)
    return normalization(x, name=f"{name}_bn")
