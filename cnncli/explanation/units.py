"""Explanations of the channels of a network: filters, feature maps, deconvolution, and preferred inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import CutError, Message
from cnncli.explanation.gradient_rules import Rule, gradient_rule
from cnncli.networks.backend import import_keras
from cnncli.networks.graph import consumers_of, inputs_of, output_of
from cnncli.networks.head import LOGITS
from cnncli.runtime.random_keys import generator

if TYPE_CHECKING:
    import keras

Array = NDArray[Any]
Pixels = NDArray[np.uint8]

ACTIVATIONS = ("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Relu", "Relu6")
"""Classes of the layers and operations that only apply an activation."""
PREFERRED_STEPS = 192
"""Number of steps by which a preferred input is found."""
RATE = 0.05
SHIFT = 1 / 12
"""Largest shift of the image between two steps, as a fraction of its sides. It keeps out patterns of single pixels."""
_DECAY = 1.0
"""Exponent with which the spectrum of natural images falls."""
# Square root of the covariance of the colors of natural images, from Lucid (Olah et al. 2017, Apache 2.0).
_COLORS = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]], np.float32)


def first_filters(model: keras.Model) -> tuple[str, NDArray[np.float32]]:
    """Return the name of the first convolution, and its kernels (filters, height, width, channels).

    Raises:
        CutError: The network has no convolution.
    """
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None and len(kernel.shape) == 4 and "Depthwise" not in type(layer).__name__:
            return layer.name, np.moveaxis(np.asarray(kernel), 3, 0)
    raise CutError(Message("cut-no-filters", "The network has no convolution whose filters could be shown."))


@dataclass(frozen=True)
class FeatureMaps:
    """Maps of a layer for one image, before and after its activation.

    Attributes:
        layer: The layer.
        before: (rows, columns, channels) before the activation; None if the layer has none and none follows.
        after: The same after it.
    """

    layer: str
    before: NDArray[np.float32] | None
    after: NDArray[np.float32]

    @property
    def strongest(self) -> NDArray[np.int64]:
        """Channels by their largest value after the activation, the strongest first."""
        return np.argsort(-self.after.max(axis=(0, 1)), kind="stable")


def feature_maps(model: keras.Model, layers: Sequence[str], pixels: Pixels) -> list[FeatureMaps]:
    """Return the maps of layers for an image (height, width, channels).

    The activation is the layer's own, or a layer that follows it directly or after batch normalization. In the latter
    case, the maps before it are normalized.
    """
    keras = import_keras()
    ends = {name: _activation_after(model, name) for name in layers}
    names = list(dict.fromkeys(name for pair in ends.values() for name in pair))
    outputs = keras.Model(model.inputs[0], [output_of(model, name) for name in names])
    found = dict(zip(names, _run(outputs, pixels), strict=True))
    own = [name for name in layers if _own_activation(model, name)]
    inputs = {name: found[before] for name, (before, after) in ends.items() if before != after}
    inputs |= _without_activation(model, own, outputs, names, pixels)
    return [FeatureMaps(name, inputs.get(name), found[ends[name][1]]) for name in layers]


def _run(model: keras.Model, pixels: Pixels) -> list[Array]:
    """Return the outputs of a model for one image."""
    found = model(pixels[None].astype(np.float32), training=False)
    return [np.asarray(one)[0] for one in (found if isinstance(found, list) else [found])]


def _without_activation(
    model: keras.Model, own: Sequence[str], outputs: keras.Model, names: Sequence[str], pixels: Pixels
) -> dict[str, Array]:
    """Return the outputs of layers as they would be without their own activations, one layer at a time."""
    linear, results = import_keras().activations.linear, {}
    for name in own:
        layer = model.get_layer(name)
        activation = layer.activation
        try:
            layer.activation = linear
            results[name] = _run(outputs, pixels)[names.index(name)]
        finally:
            layer.activation = activation
    return results


def _own_activation(model: keras.Model, name: str) -> bool:
    operation = next(one for one in model.operations if one.name == name)
    activation = getattr(operation, "activation", None)
    is_only_activation = type(operation).__name__ == "Activation"
    return activation is not None and activation.__name__ != "linear" and not is_only_activation


def _activation_after(model: keras.Model, name: str) -> tuple[str, str]:
    """Return the layer whose output is the input of the activation behind a layer, and the activation.

    Both are the layer itself if it has its own activation, or if none follows it directly or after batch normalization.
    """
    at = name
    for _ in range(0 if _own_activation(model, name) else 2):
        users = consumers_of(model, at)
        kind, following = (type(users[0]).__name__, users[0].name) if len(users) == 1 else ("", name)
        if kind in ACTIVATIONS:
            return at, following
        if kind != "BatchNormalization":
            break
        at = following
    return name, name


def response_of(model: keras.Model, layer: str) -> keras.KerasTensor:
    """Return the output of a layer or, if it is an activation, its input, because ReLU6 passes on no more than 6."""
    operation = next(one for one in model.operations if one.name == layer)
    return inputs_of(model, layer)[0] if type(operation).__name__ in ACTIVATIONS else output_of(model, layer)


def rule_of(model: keras.Model) -> Rule:
    """Return the rule of `deconvolve` for a network: guided backpropagation if it has no max pooling.

    A deconvolution knows the image only by the places of the maxima. Without them, it is the same for all images.
    """
    return "deconvolution" if any("MaxPooling" in type(layer).__name__ for layer in model.layers) else "guided"


def deconvolve(
    model: keras.Model, layer: str, channel: int, images: Pixels, rule: Rule = "deconvolution"
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Project the strongest response of a channel back to the pixels: Zeiler and Fergus 2013 (arXiv 1311.2901).

    Returns:
        The projections, float32 with the shape of the images, and row and column of the responses, int64 (n, 2).
    """
    import tensorflow as tf

    keras = import_keras()
    part = keras.Model(model.inputs[0], response_of(model, layer))
    inputs = tf.convert_to_tensor(images.astype(np.float32))
    with gradient_rule(part, rule), tf.GradientTape() as tape:
        tape.watch(inputs)
        maps = part(inputs, training=False)[..., channel]
        score = tf.reduce_sum(tf.reduce_max(maps, axis=(1, 2)))
    values = np.asarray(maps)
    places = np.stack(np.unravel_index(values.reshape(len(values), -1).argmax(axis=1), values.shape[1:]), axis=1)
    return np.asarray(tape.gradient(score, inputs)), places


def preferred_inputs(
    model: keras.Model,
    layer: str | None,
    units: Sequence[int],
    steps: int = PREFERRED_STEPS,
    advance: Callable[[], None] = lambda: None,
    seed: int = 0,
    *,
    is_multi_label: bool = False,
) -> NDArray[np.uint8]:
    """Find images that raise classes, or channels of a layer, as much as possible: activation maximization.

    Images are described by their spectrum and decorrelated colors, and shifted between steps, as in Olah, Mordvintsev
    and Schubert 2017 (Feature Visualization, distill.pub).

    Args:
        model: Classifier from pixels in 0-255.
        layer: Layer of the channels; None for the logits, whose units are the classes.
        units: Numbers of the channels or classes.
        steps: Number of steps.
        advance: Called after each step.
        seed: Seed of the first images and of the shifts.
        is_multi_label: Whether the classes are labels, of which a single one has a unit of its own.

    Returns:
        uint8 (units, height, width, channels).
    """
    import tensorflow as tf

    _, height, width, channels = model.inputs[0].shape
    part = import_keras().Model(model.inputs[0], output_of(model, layer or LOGITS))
    random, shape = generator("preferred input", seed), (len(units), channels, height, width // 2 + 1)
    values = random.normal(0, 0.01, (2, *shape)).astype(np.float32)
    spectrum = tf.Variable(values)
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    scale = 1 / np.maximum(frequencies, 1 / max(height, width)) ** _DECAY
    scale = tf.constant((scale * np.sqrt(height * width)).astype(np.float32))
    colors = tf.constant(_COLORS / np.abs(_COLORS).sum(axis=1).max() if channels == 3 else np.eye(channels, dtype="f4"))
    optimizer = import_keras().optimizers.Adam(RATE)
    numbers = tf.constant(list(units))

    def draw() -> Any:
        waves = tf.signal.irfft2d(tf.complex(spectrum[0], spectrum[1]) * tf.cast(scale, tf.complex64), [height, width])
        planes = tf.einsum("nchw,dc->nhwd", waves, colors)
        return 255 * tf.sigmoid(planes / 4)

    @tf.function  # type: ignore[untyped-decorator]
    def step(shift: Any) -> None:
        with tf.GradientTape() as tape:
            scores = part(tf.roll(draw(), shift, axis=(1, 2)), training=False)
            if len(scores.shape) == 4:
                scores = tf.reduce_mean(scores, axis=(1, 2))
            if layer is None and scores.shape[1] == 1 and not is_multi_label:
                scores = tf.concat([-scores, scores], axis=1)
            loss = -tf.reduce_sum(tf.gather(scores, numbers, batch_dims=1))
        optimizer.apply_gradients([(tape.gradient(loss, spectrum), spectrum)])

    optimizer.build([spectrum])
    limits = [max(1, round(SHIFT * side)) for side in (height, width)]
    for _ in range(steps):
        step(tf.constant([int(random.integers(-limit, limit + 1)) for limit in limits]))
        advance()
    return np.asarray(draw()).round().clip(0, 255).astype(np.uint8)
