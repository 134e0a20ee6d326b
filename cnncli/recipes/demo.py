"""`cnncli demo`: what convolutions, pooling and a training step compute, worked out on small examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.kernels import KERNELS, SIGNED, Kernel
from cnncli.config.overrides import Overrides
from cnncli.config.reader import config_from_mapping
from cnncli.errors import CnncliError, Message, printable
from cnncli.explanation.convolution import convolve, pool
from cnncli.images.decode import PixelSpec, decode
from cnncli.images.limits import MAX_PIXELS
from cnncli.images.verify import verify
from cnncli.report.demo_figures import Tile
from cnncli.terminal.formatting import matrix_text

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray (ITU-R BT.601), as in Pillow."""

SMALL_NETWORK: Mapping[str, object] = {
    "mode": "from-scratch",
    "data": {"path": ".", "image_size": 32},
    "backbone": {"name": "ConvNet", "options": {"filters": [8, 16]}},
}
"""Settings of the network of `demo step`."""


def load_square(image: Path, size: int | None = None) -> NDArray[np.uint8]:
    """Return the centered square of an image, resized, uint8 (size, size, 3). Raises ImageError.

    The default size is that of the image, 8 to 224 pixels: kernels find the grid of the pixels in an enlarged image.
    """
    if size is None:
        facts = verify(image, MAX_PIXELS)
        size = min(max(facts.width, 8), max(facts.height, 8), 224)
    return decode(image, PixelSpec(size, size, fit="crop"))


def gray_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return gray values (height, width) of RGB pixels."""
    gray: NDArray[np.uint8] = np.rint(pixels @ np.array(LUMA)).astype(np.uint8)
    return gray


def kernel_tiles(pixels: NDArray[np.uint8]) -> list[Tile]:
    """Return an image and the result of each kernel: of the colors, or the strength of edges in gray."""
    return [Tile("original", pixels), *(_kernel_tile(name, pixels) for name in KERNELS)]


def _kernel_tile(name: str, pixels: NDArray[np.uint8]) -> Tile:
    kernel = KERNELS[name]
    if name in SIGNED:
        result = np.abs(filter_channels(gray_of(pixels)[..., None], kernel))[..., 0]
    else:
        result = filter_channels(pixels, kernel)
    return Tile(name, np.rint(result).clip(0, 255).astype(np.uint8), _kernel_text(kernel))


def filter_channels(pixels: NDArray[Any], kernel: Kernel) -> NDArray[np.float64]:
    """Convolve each channel of (height, width, channels) with one kernel; the edge is repeated outside."""
    values, margin = pixels.astype(np.float64), len(kernel) // 2
    padded = np.pad(values, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    weights = np.array(kernel, np.float64)[None, ..., None]
    channels = [convolve(padded[..., [channel]], weights).output for channel in range(values.shape[-1])]
    return np.concatenate(channels, axis=-1)


def _kernel_text(kernel: Kernel) -> str:
    """Return a kernel as lines, with a common divisor of the blurs in front."""
    smallest = min(abs(value) for row in kernel for value in row if value)
    divisor = round(1 / smallest) if smallest < 1 else 1
    text = matrix_text([[round(value * divisor) for value in row] for row in kernel])
    return text + (f"\n/{divisor}" if divisor > 1 else "")


def feature_map_tiles(pixels: NDArray[np.uint8]) -> list[Tile]:
    """Return a feature map of edges before and after ReLU, and after max, average and sum pooling of 2×2."""
    before = filter_channels(gray_of(pixels)[..., None], KERNELS["Sobel, vertical lines"])
    after = np.maximum(before, 0)
    pooled = [Tile(f"after {kind} pooling", pool(after, kind).output[..., 0]) for kind in ("max", "average", "sum")]
    tiles = [Tile("image", pixels), Tile("feature map", before[..., 0]), Tile("after ReLU", after[..., 0]), *pooled]
    return [Tile(tile.title, tile.pixels, _range_text(tile.pixels)) for tile in tiles]


def _range_text(values: NDArray[Any]) -> str:
    height, width = values.shape[:2]
    return f"{height}×{width}, {values.min():.0f} to {values.max():.0f}".replace("-", "−")


@dataclass(frozen=True)
class FieldRow:
    """The receptive field after some equal layers, and the weights per pair of channels.

    Attributes:
        layers: Number of layers.
        receptive_field: Side in pixels.
        formula: Its arithmetic.
        weights: Weights of the layers between one input and one output channel each.
        weights_of_one: Weights of a single layer with a kernel of the receptive field.
    """

    layers: int
    receptive_field: int
    formula: str
    weights: int
    weights_of_one: int


def receptive_fields(layers: int, kernel: int, stride: int = 1, dilation: int = 1) -> list[FieldRow]:
    """Return the receptive field after each of several equal convolutions, as Keras's graph gives it."""
    from cnncli.networks.arithmetic import count_layers
    from cnncli.networks.backend import import_keras

    keras = import_keras()
    images = x = keras.Input((64, 64, 1))
    for _ in range(layers):
        x = keras.layers.Conv2D(1, kernel, 1 if dilation > 1 else stride, "same", dilation_rate=dilation)(x)
        if stride > 1 and dilation > 1:
            x = keras.layers.MaxPooling2D(1, stride, "same")(x)  # Keras has no convolution with both
    found = [
        (layer.receptive_field[0], layer.formulas["receptive_field"])
        for layer in count_layers(keras.Model(images, x))
        if layer.kind == "weights" and layer.receptive_field
    ]
    return [FieldRow(n, side, formula, n * kernel**2, side**2) for n, (side, formula) in enumerate(found, start=1)]


@dataclass(frozen=True)
class DemoStep:
    """A training step on one image.

    Attributes:
        classes: Names of the classes.
        target: 1 for the class of the image, else 0.
        probabilities: Probabilities before the first update and after each one.
        errors: Total error of each: half the sum of squared differences from the target.
        largest_gradients: Largest absolute gradient of each update.
        n_weights: Number of weights that are updated.
        learning_rate: Factor of the gradients.
    """

    classes: tuple[str, ...]
    target: tuple[float, ...]
    probabilities: tuple[tuple[float, ...], ...]
    errors: tuple[float, ...]
    largest_gradients: tuple[float, ...]
    n_weights: int
    learning_rate: float


def total_error(target: Sequence[float], output: Sequence[float]) -> float:
    """Return Σ ½(target − output)².

    >>> [round(total_error([0, 0, 1, 0], output), 2) for output in ([0.2, 0.4, 0.1, 0.3], [0.1, 0.1, 0.7, 0.1])]
    [0.55, 0.06]
    """
    return float(sum((t - o) ** 2 for t, o in zip(target, output, strict=True)) / 2)


def _invalid(option: str, received: str, expected: str) -> CnncliError:
    text = printable(f"--{option} {received}: expected {expected}.")
    return CnncliError(Message("usage-value-invalid", text, key=option, received=received, expected=expected))


def train_on_one_image(
    image: Path, classes: Sequence[str], label: str, learning_rate: float, n_updates: int, overrides: Overrides = ()
) -> DemoStep:
    """Update a network by gradient descent on the squared error of one image.

    Args:
        image: An image file.
        classes: At least two different names.
        label: The class of the image, one of them.
        learning_rate: Factor of the gradients.
        n_updates: Number of updates.
        overrides: Settings of the network, by default a small ConvNet with random weights.

    Raises:
        CnncliError: The label is not among the classes, a class is repeated, or a setting is wrong.
        ImageError: The image is unusable.
    """
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise _invalid("classes", ",".join(classes), "at least two different names")
    if label not in classes:
        raise _invalid("label", label, f"one of {', '.join(classes)}, as in --classes")
    config = config_from_mapping(SMALL_NETWORK, overrides, environment={}, check_paths=False)
    from cnncli.networks.backend import import_keras
    from cnncli.networks.classifier import build_classifier, image_size

    keras = import_keras()
    import tensorflow as tf

    model = build_classifier(config, len(classes)).model
    pixels = decode(image, config.data.pixel_spec(image_size(config)))[None].astype(np.float32)
    target = np.array([[float(name == label) for name in classes]], np.float32)
    outputs, largest = [], []
    for n in range(n_updates + 1):
        with tf.GradientTape() as tape:
            output = model(pixels, training=False)
            error = keras.ops.sum(keras.ops.square(target - output)) / 2
        outputs.append(tuple(np.asarray(output)[0].tolist()))
        if n < n_updates:
            gradients = tape.gradient(error, model.trainable_weights)
            largest.append(max(float(np.abs(np.asarray(gradient)).max()) for gradient in gradients))
            for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
                weight.assign(weight - learning_rate * gradient)
    goal = tuple(target[0].tolist())
    return DemoStep(
        tuple(classes), goal, tuple(outputs), tuple(total_error(goal, output) for output in outputs), tuple(largest),
        sum(int(np.prod(weight.shape)) for weight in model.trainable_weights), learning_rate,
    )  # fmt: skip
