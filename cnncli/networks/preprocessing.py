"""Preprocessing of pixels in 0–255 for a backbone, as standard Keras layers in the classifier's graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def preprocess(pixels: keras.KerasTensor, kind: Preprocessing) -> keras.KerasTensor:
    """Add preprocessing layers that equal Keras's own preprocessing of that kind; their names start with `preprocess_`.

    Pixels are float32 (batch, height, width, 3 or 1); a single channel is repeated to three.
    """
    keras = import_keras()
    if pixels.shape[-1] == 1:
        pixels = keras.layers.Concatenate(name="preprocess_rgb")([pixels, pixels, pixels])
    if kind == "none":
        return pixels
    if kind == "caffe":
        from keras.src.ops.numpy import Flip  # the operation behind `keras.ops.flip`, which can be given a name

        pixels = Flip(axis=-1, name="preprocess_bgr")(pixels)
    scale, offset = kind if isinstance(kind, tuple) else _SCALES_AND_OFFSETS[kind]
    return keras.layers.Rescaling(scale, offset, name="preprocess_scale")(pixels)
