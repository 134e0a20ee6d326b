"""Layers that Keras lacks, as graphs of its own layers and operations.

Each function adds nodes to a functional graph, so bare Keras loads the saved model in safe mode, without classes of
cnncli. Tensors are float32 (batch, height, width, channels) unless stated otherwise. `name` is the name of the node
with the result; the nodes below it begin with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from cnncli.catalogue.blocks import Initializer
from cnncli.catalogue.windows import Pair, pair, same_padding
from cnncli.networks.backend import import_keras

if TYPE_CHECKING:
    import keras

Padding = Literal["valid", "same"] | int | Pair
"""Padding of each side: none, as much as keeps height and width at stride 1, or a number of pixels, the same in both
directions or (above and below, left and right)."""
PoolKind = Literal["max", "average", "sum", "l2", "std", "weighted"]

_LOWEST = -3.4028234663852886e38  # of float32
_SMALLEST_SQUARE = 1e-12
"""Lower bound below a square root, whose gradient at zero is infinite."""


def local_response_normalization(
    x: keras.KerasTensor, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, *, name: str
) -> keras.KerasTensor:
    """Divide by (k + alpha · sum of squares of `size` neighboring channels)^beta, as AlexNet does (section 3.3).

    Equals `tf.nn.local_response_normalization(x, size // 2, k, alpha, beta)`. Caffe and PyTorch divide alpha by the
    size. `size` is odd.
    """
    keras = import_keras()
    ops = _operations()
    squares = ops.Square(name=f"{name}_squares")(x)
    # With channels first, (height, width, channels) are channels, height and width: pooling is along the channels.
    margin, along_channels = ((0, 0), (size // 2, size // 2)), "channels_first"
    padded = keras.layers.ZeroPadding2D(margin, data_format=along_channels, name=f"{name}_pad")(squares)
    mean = keras.layers.AveragePooling2D((1, size), 1, data_format=along_channels, name=f"{name}_mean")(padded)
    base = keras.layers.Rescaling(alpha * size, k, name=f"{name}_base")(mean)
    return ops.Divide(name=name)(x, ops.Power(name=f"{name}_power")(base, beta))


def maxout(x: keras.KerasTensor, pieces: int, *, name: str) -> keras.KerasTensor:
    """Return the maximum of each `pieces` successive channels (arXiv 1302.4389): channels / pieces remain.

    Also for vectors (batch, channels). `pieces` divides the channels.
    """
    *places, channels = x.shape[1:]
    grouped = import_keras().layers.Reshape((*places, channels // pieces, pieces), name=f"{name}_pieces")(x)
    return _operations().Max(axis=-1, name=name)(grouped)


def channel_shuffle(x: keras.KerasTensor, groups: int, *, name: str) -> keras.KerasTensor:
    """Interleave the channels of groups (ShuffleNet, arXiv 1707.01083): the first of each group, then the second …."""
    layers = import_keras().layers
    height, width, channels = x.shape[1:]
    x = layers.Reshape((height, width, groups, channels // groups), name=f"{name}_groups")(x)
    x = layers.Permute((1, 2, 4, 3), name=f"{name}_swap")(x)
    return layers.Reshape((height, width, channels), name=name)(x)


def pool(
    x: keras.KerasTensor,
    kind: PoolKind,
    size: int | Pair,
    strides: int | Pair,
    padding: Padding = "valid",
    *,
    name: str,
) -> keras.KerasTensor:
    """Reduce the pixels of each window to one.

    `max` and `average` as in Keras; `sum`; `l2`: square root of the sum of squares; `std`: standard deviation;
    `weighted`: a weighted sum, with trained weights per channel that start as the average, and equal strides.

    Padding counts as zeros, except that `max` ignores it, and `average` and `std` ignore that of `same`, as in Keras.
    """
    layers, (size, strides) = import_keras().layers, (pair(size), pair(strides))
    if kind == "weighted":
        mean = import_keras().initializers.Constant(1 / (size[0] * size[1]))
        x, rest = pad(x, padding, name=name)
        return layers.DepthwiseConv2D(size, strides, rest, use_bias=False, depthwise_initializer=mean, name=name)(x)
    if kind == "max":
        x, rest = pad(x, padding, name=name, value=_LOWEST)
        return layers.MaxPooling2D(size, strides, rest, name=name)(x)
    if kind == "std":
        return _root(_variance(x, size, strides, padding, name), name)
    if kind in ("sum", "l2") and padding == "same":
        x, padding = _pad_same(x, size, strides, name), "valid"
    x, rest = pad(x, padding, name=name)
    ops = _operations()

    def average(values: keras.KerasTensor, suffix: str = "") -> keras.KerasTensor:
        return layers.AveragePooling2D(size, strides, rest, name=f"{name}{suffix}")(values)

    if kind == "average":
        return average(x)
    if kind == "sum":
        return layers.Rescaling(float(size[0] * size[1]), name=name)(average(x, "_mean"))
    mean_square = average(ops.Square(name=f"{name}_squares")(x), "_mean_square")
    squares = layers.Rescaling(float(size[0] * size[1]), name=f"{name}_sum")(mean_square)
    return _root(squares, name)


def locally_connected(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int | Pair,
    strides: int | Pair = 1,
    padding: Padding = "valid",
    *,
    name: str,
    **settings: Any,
) -> keras.KerasTensor:
    """Convolve with different weights at each place: h·w·(kernel height·kernel width·channels + 1)·filters parameters.

    `settings` are those of Keras's EinsumDense, such as `kernel_initializer` and `kernel_regularizer`; `bias_axes=None`
    leaves out the bias, of which each place has its own, too. Initializers count the inputs and outputs of one place;
    `Orthogonal` makes one matrix of all places.
    """
    keras = import_keras()
    patches = extract_patches(x, kernel_size, strides, padding, name=f"{name}_patches")
    height, width, _ = patches.shape[1:]
    initializer = keras.initializers.get(settings.pop("kernel_initializer", "glorot_uniform"))
    if hasattr(initializer, "input_axes"):  # of a kernel (height, width, inputs, filters)
        initializer.input_axes, initializer.output_axes = [2], [3]
    return keras.layers.EinsumDense(
        "bhwp,hwpf->bhwf",
        (height, width, filters),
        kernel_initializer=initializer,
        name=name,
        **{"bias_axes": "hwf", **settings},
    )(patches)


def extract_patches(
    x: keras.KerasTensor, size: int | Pair, strides: int | Pair = 1, padding: Padding = "valid", *, name: str
) -> keras.KerasTensor:
    """Return the values below a kernel at each place: (batch, h, w, kernel height · kernel width · channels).

    Ordered as in the kernel of Conv2D. Crops instead of `keras.ops.image.extract_patches`, a convolution with an
    identity matrix, which OpenVINO does not convert.
    """
    layers, (height, width), strides = import_keras().layers, pair(size), pair(strides)
    if padding == "same":
        x = _pad_same(x, (height, width), strides, name)
    elif padding != "valid":
        x, _ = pad(x, padding, name=name)
    for direction, length in (("columns", width), ("rows", height)):
        crops = []
        for at in range(length):
            margin = (at, length - 1 - at)
            cropping = ((0, 0), margin) if direction == "columns" else (margin, (0, 0))
            crops.append(layers.Cropping2D(cropping, name=f"{name}_{direction}_{at}")(x))
        x = layers.Concatenate(name=f"{name}_{direction}")(crops) if length > 1 else x
    return layers.MaxPooling2D(1, strides, name=name)(x) if strides != (1, 1) else x


def pad(
    x: keras.KerasTensor, padding: Padding, *, name: str, value: float = 0.0
) -> tuple[keras.KerasTensor, Literal["valid", "same"]]:
    """Add a padding that is given in pixels, and return the padding that remains for Keras's layer."""
    if padding == "valid" or padding == "same":
        return x, padding
    vertical, horizontal = pair(padding)
    if vertical == horizontal == 0:
        return x, "valid"
    if value == 0:
        return import_keras().layers.ZeroPadding2D((vertical, horizontal), name=f"{name}_pad")(x), "valid"
    margins = [(0, 0), (vertical, vertical), (horizontal, horizontal), (0, 0)]
    return _operations().Pad(margins, name=f"{name}_pad")(x, constant_values=value), "valid"


def initializer_of(name: Initializer, fan_in: int, seed: int | None = None) -> Any:
    """Return an initializer by its name in configs; without a seed, it draws one from Keras's global generator.

    `fan_in` is the number of inputs of a unit.
    """
    initializers = import_keras().initializers
    if name == "uniform-fan-in":
        return initializers.RandomUniform(-1 / fan_in, 1 / fan_in, seed=seed)
    words = {"class_name": name.replace("-", "_"), "config": {}}
    if name not in ("zeros", "ones"):
        words["config"] = {"seed": seed}
    return initializers.get(words)


def _root(squares: keras.KerasTensor, name: str) -> keras.KerasTensor:
    ops = _operations()
    return ops.Sqrt(name=name)(ops.Maximum(name=f"{name}_bound")(squares, _SMALLEST_SQUARE))


def _variance(x: keras.KerasTensor, size: Pair, strides: Pair, padding: Padding, name: str) -> keras.KerasTensor:
    """Return the variance of each window.

    In float32 and with the mean of the window subtracted first: mean square minus squared mean cancels if the mean is
    large.
    """
    layers, ops = import_keras().layers, _operations()

    def windows(values: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Return (batch, h, w, pixels of a window, channels)."""
        patches = extract_patches(values, size, strides, padding, name=f"{name}_patches")
        shape = (*patches.shape[1:3], size[0] * size[1], x.shape[-1])
        return _cast(layers.Reshape(shape, name=f"{name}_windows")(patches), name=f"{name}_float32")

    pixels = windows(x, name)
    if padding != "same":
        return ops.Var(axis=3, name=f"{name}_variance")(pixels)
    inside = windows(layers.Rescaling(0.0, 1.0, name=f"{name}_ones")(x), f"{name}_inside")  # 0 in the padding
    counts = ops.Sum(axis=3, keepdims=True, name=f"{name}_counts")(inside)
    means = ops.Divide(name=f"{name}_means")(ops.Sum(axis=3, keepdims=True, name=f"{name}_sums")(pixels), counts)
    deviations = ops.Multiply(name=f"{name}_kept")(inside, ops.Subtract(name=f"{name}_deviations")(pixels, means))
    squares = ops.Divide(name=f"{name}_squares")(ops.Square(name=f"{name}_square")(deviations), counts)
    return ops.Sum(axis=3, name=f"{name}_variance")(squares)


def _pad_same(x: keras.KerasTensor, size: Pair, strides: Pair, name: str) -> keras.KerasTensor:
    """Add the zeros that TensorFlow's `same` stands for."""
    margins = tuple(map(same_padding, x.shape[1:3], size, strides))
    return import_keras().layers.ZeroPadding2D(margins, name=f"{name}_pad")(x)


def _cast(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Cast to float32, also in a copy of the graph that computes in bfloat16."""
    import_keras()
    from keras.src.ops import core

    return core.Cast("float32", name=name)(x)


def _operations() -> Any:
    """Return the module of the operations behind `keras.ops`, which can be given a name."""
    import_keras()
    from keras.src.ops import numpy

    return numpy
