"""Preprocessing of pixels in 0–255 for a backbone, as standard Keras layers in the classifier's graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnncli.networks.backend import import_keras

if TYPE_CHECKING:
    import keras

    from cnncli.catalogue.networks import Preprocessing

# Means and standard deviations of ImageNet's pixels as Keras has them: BGR in 0–255, and RGB in 0–1.
_CAFFE_MEANS_BGR = (103.939, 116.779, 123.68)
_TORCH_RGB = ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))
_SCALES_AND_OFFSETS: dict[Preprocessing, tuple[float | list[float], float | list[float]]] = {
    "caffe": (1.0, [-mean for mean in _CAFFE_MEANS_BGR]),
    "torch": ([1.0 / (255.0 * std) for _, std in _TORCH_RGB], [-mean / std for mean, std in _TORCH_RGB]),
    "scale": (1.0 / 127.5, -1.0),
    "scale128": (1.0 / 128.0, -1.0),
}
"""Scale and offset of pixels, each a number or a list with one number per channel."""


ADAPTER = "adapter"
"""Name of the trained convolution that converts pixels to three channels."""


def preprocess(pixels: keras.KerasTensor, kind: Preprocessing, *, repeat_gray: bool = True) -> keras.KerasTensor:
    """Add preprocessing layers that equal Keras's own preprocessing of that kind; their names start with `preprocess_`.

    Pixels are float32 (batch, height, width, channels). A single channel is repeated to three, unless the network takes
    one. The statistics of `caffe` and `torch` are those of RGB; other channels are scaled to −1…1 instead.
    """
    keras = import_keras()
    if pixels.shape[-1] == 1 and repeat_gray:
        pixels = keras.layers.Concatenate(name="preprocess_rgb")([pixels, pixels, pixels])
    if kind == "none":
        return pixels
    if kind in ("caffe", "torch") and pixels.shape[-1] != len(_TORCH_RGB):
        kind = "scale"
    if kind == "caffe":
        from keras.src.ops.numpy import Flip  # the operation behind `keras.ops.flip`, which can be given a name

        pixels = Flip(axis=-1, name="preprocess_bgr")(pixels)
    scale, offset = kind if isinstance(kind, tuple) else _SCALES_AND_OFFSETS[kind]
    return keras.layers.Rescaling(scale, offset, name="preprocess_scale")(pixels)


def adapt_channels(pixels: keras.KerasTensor) -> keras.KerasTensor:
    """Add a trained 1×1 convolution from any number of channels to three.

    It starts as what would be done without it: one channel is repeated, RGB is unchanged, and alpha has no weight.
    Other channels are averaged in three groups in their order; of two channels, the second group is the mean.
    """
    layer = import_keras().layers.Conv2D(3, 1, kernel_initializer="zeros", name=ADAPTER)
    adapted = layer(pixels)
    layer.kernel.assign(_first_mixture(pixels.shape[-1])[None, None])
    return adapted


def _first_mixture(channels: int) -> NDArray[np.float32]:
    """Return the weights of each channel (rows) in red, green and blue (columns)."""
    mixture = np.zeros((channels, 3), np.float32)
    if channels <= 2:
        mixture[:] = [[1, 1, 1]] if channels == 1 else [[1, 0.5, 0], [0, 0.5, 1]]
    else:
        of_color = 3 if channels == 4 else channels
        for column, group in enumerate(np.array_split(np.arange(of_color), 3)):
            mixture[group, column] = 1 / len(group)
    return mixture
