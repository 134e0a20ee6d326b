"""From pixels in 0–255 to what a backbone expects, in standard Keras layers that are part of the classifier's graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnncli.networks.backend import import_keras

if TYPE_CHECKING:
    import keras

    from cnncli.catalogue.networks import Preprocessing

# The means and deviations of ImageNet's pixels as Keras has them: BGR of 0–255, and RGB of 0–1.
_CAFFE_MEANS_BGR = (103.939, 116.779, 123.68)
_TORCH_MEANS_RGB = (0.485, 0.456, 0.406)
_TORCH_DEVIATIONS_RGB = (0.229, 0.224, 0.225)


def preprocess(pixels: keras.KerasTensor, kind: Preprocessing) -> keras.KerasTensor:
    """Preprocessed float32 images, equal to what Keras's own preprocessing of that kind gives.

    Args:
        pixels: (batch, height, width, 3), or (batch, height, width, 1) which is repeated to three channels; 0–255.
        kind: as in the catalogue.
    Returns: (batch, height, width, 3). Every layer's name begins with `preprocess_`.
    """
    keras = import_keras()
    if pixels.shape[-1] == 1:
        pixels = keras.layers.Concatenate(name="preprocess_rgb")([pixels, pixels, pixels])
    if kind == "none":
        return pixels
    if kind == "caffe":
        pixels = _reversed_channels(pixels)
    scale, offset = scale_and_offset(kind)
    return keras.layers.Rescaling(scale, offset, name="preprocess_scale")(pixels)


def _reversed_channels(pixels: keras.KerasTensor) -> keras.KerasTensor:
    """RGB as BGR: `keras.ops.flip`, called as an operation so that it has a name of ours in the graph."""
    from keras.src.ops.numpy import Flip

    return Flip(axis=-1, name="preprocess_bgr")(pixels)


def scale_and_offset(kind: Preprocessing) -> tuple[float | list[float], float | list[float]]:
    """The factor of the pixels, then what is added; one number, or one for each channel."""
    if kind == "caffe":
        return 1.0, [-mean for mean in _CAFFE_MEANS_BGR]
    if kind == "torch":
        scales = [1.0 / (255.0 * deviation) for deviation in _TORCH_DEVIATIONS_RGB]
        offsets = [-mean / deviation for mean, deviation in zip(_TORCH_MEANS_RGB, _TORCH_DEVIATIONS_RGB, strict=True)]
        return scales, offsets
    return {
        "scale": (1.0 / 127.5, -1.0),
        "scale128": (1.0 / 128.0, -1.0),
        "lite0": (1.0 / 128.0, -127.0 / 128.0),
        "unit": (1.0 / 255.0, 0.0),
    }[kind]
