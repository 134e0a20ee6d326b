"""Which pixels speak for a class, by gradients: Grad-CAM, Grad-CAM++, integrated gradients, guided backpropagation.

The whole classifier runs in Keras in float32, wherever it was cut for training, and whatever is cached.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import CutError, Message
from cnncli.explanation.gradient_rules import gradient_rule, is_activated
from cnncli.networks.backend import import_keras, standard_settings
from cnncli.networks.classifier import PREPROCESSING, Classifier
from cnncli.networks.graph import nodes_in_order, output_of
from cnncli.networks.head import LOGITS
from cnncli.terminal.suggestions import closest, normalize, question

if TYPE_CHECKING:
    import keras

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]

STEPS = 48
"""Number of steps of integrated gradients."""
BATCH = 16
MAX_SUGGESTIONS, MAX_LISTED = 3, 40
"""Numbers of similar names of layers, and of all names from the last one, in a message."""
_BRANCH = re.compile(r"^backbone_\d+_")


class Attribution:
    """Gradients of the scores of one classifier.

    Args:
        classifier: The classifier.
        layer: Layer whose maps Grad-CAM weights; default: the last one with maps in each backbone.
        is_multi_label: Whether an image can have several labels, so that a single unit is the score of a label.

    Raises:
        CutError: There is no such layer, or it has no maps.
    """

    @standard_settings()
    def __init__(self, classifier: Classifier, layer: str | None = None, *, is_multi_label: bool = False) -> None:
        model = classifier.model
        self.layers = tuple(map_layers(model) if layer is None else [require_map_layer(model, layer)])
        keras = import_keras()
        logits = output_of(model, LOGITS)
        self._is_multi_label = is_multi_label
        self._logits = keras.Model(model.inputs[0], logits)
        self._maps = keras.Model(model.inputs[0], [*(output_of(model, name) for name in self.layers), logits])

    def grad_cam(self, pixels: Pixels, k: int) -> Map:
        """Return Grad-CAM for class k of an image (height, width, channels): Selvaraju et al. 2016 (arXiv 1610.02391).

        Returns:
            float32 (height, width) in 0-1; all 0 if nothing speaks for the class.
        """
        return self._weighted_maps(pixels, k, lambda _, gradients: gradients.mean(axis=(0, 1)))

    def grad_cam_plus_plus(self, pixels: Pixels, k: int) -> Map:
        """Return Grad-CAM++ for class k: Chattopadhyay et al. 2017 (arXiv 1710.11063); see `grad_cam`."""
        return self._weighted_maps(pixels, k, _plus_plus_weights)

    def integrated_gradients(self, pixels: Pixels, k: int, steps: int = STEPS) -> Map:
        """Return integrated gradients from black to the image: Sundararajan, Taly and Yan 2017 (arXiv 1703.01365).

        Returns:
            Sum over the channels, float32 (height, width). Its sum is the score of the image minus that of black.
        """
        fractions = (np.arange(steps, dtype=np.float32) + 0.5) / steps
        image, total = pixels.astype(np.float32), np.zeros(pixels.shape)
        for start in range(0, steps, BATCH):
            part = fractions[start : start + BATCH, None, None, None]
            total += self.gradients((part * image).astype(np.float32), k).sum(axis=0)
        return np.asarray((image * total / steps).sum(axis=2), np.float32)

    def guided_backpropagation(self, pixels: Pixels, k: int) -> Map:
        """Return the guided gradients of class k, float32 (height, width, channels); see `gradient_rules`."""
        with gradient_rule(self._logits, "guided"):
            return np.asarray(self.gradients(pixels[None].astype(np.float32), k)[0])

    def logits(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return the score of each class of images (n, height, width, channels), float32 (n, classes)."""
        found = np.asarray(self._logits(images.astype(np.float32), training=False))
        return np.hstack([-found, found]) if found.shape[1] == 1 and not self._is_multi_label else found

    def gradients(self, images: NDArray[np.float32], k: int) -> Map:
        """Return the gradients of the score of class k by the pixels, with the shape of the images."""
        import tensorflow as tf

        images = tf.convert_to_tensor(images)
        with tf.GradientTape() as tape:
            tape.watch(images)
            score = tf.reduce_sum(self._score(self._logits(images, training=False), k))
        return np.asarray(tape.gradient(score, images))

    def _score(self, logits: Any, k: int) -> Any:
        """Return the score (n,) of class k; one unit is a label, or else the score of the second of two classes."""
        if logits.shape[1] > 1 or self._is_multi_label:
            return logits[:, k]
        return logits[:, 0] if k == 1 else -logits[:, 0]

    def _weighted_maps(self, pixels: Pixels, k: int, weights_of: Callable[[Map, Map], Map]) -> Map:
        """Return the maps of all layers, weighted, rectified, enlarged to the image and added."""
        import cv2
        import tensorflow as tf

        if not self.layers:
            text = "Grad-CAM needs a layer with maps, and the network has none. Use another method."
            raise CutError(Message("cut-no-maps", text, key="method"))
        images = tf.convert_to_tensor(pixels[None].astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(images)  # weights may be frozen, and maps must be recorded
            *maps, logits = self._maps(images, training=False)
            score = tf.reduce_sum(self._score(logits, k))
        gradients = tape.gradient(score, maps)
        height, width, _ = pixels.shape
        total = np.zeros((height, width), np.float32)
        for one, gradient in zip(maps, gradients, strict=True):
            values, slopes = np.asarray(one)[0], np.asarray(gradient)[0]
            heat = np.maximum((values * weights_of(values, slopes)).sum(axis=-1), 0)
            total += cv2.resize(heat / max(float(heat.max()), 1e-12), (width, height), interpolation=cv2.INTER_LINEAR)
        return total / max(float(total.max()), 1e-12)


def _plus_plus_weights(values: Map, slopes: Map) -> Map:
    """Return the weights of maps (height, width, channels) by the closed form of Grad-CAM++, for exp(score)."""
    squares, cubes = slopes**2, slopes**3
    denominator = 2 * squares + values.sum(axis=(0, 1)) * cubes
    alpha = squares / np.where(np.abs(denominator) > 1e-12, denominator, 1.0)
    return np.asarray((alpha * np.maximum(slopes, 0)).sum(axis=(0, 1)))


def map_layers(model: keras.Model) -> list[str]:
    """Return the last layer with maps of each backbone of a classifier; none if it has no maps."""
    last: dict[str, str] = {}
    for name in layers_with_maps(model):
        branch = _BRANCH.match(name)
        last[branch[0] if branch else ""] = name
    return list(last.values())


def layers_with_maps(model: keras.Model, *, activated: bool = False) -> list[str]:
    """Return the layers whose only output is (rows, columns, channels), with more than one place, in graph order.

    The pixels and their preprocessing do not count. `activated` keeps layers that apply an activation.
    """
    return [
        node.operation.name
        for node in nodes_in_order(model)
        if _has_maps(node) and (not activated or is_activated(node.operation))
    ]


def _has_maps(node: Any) -> bool:
    """Return whether a node is neither the input nor preprocessing, and its only output has more than one place."""
    if node.is_input or len(node.outputs) != 1 or _BRANCH.sub("", node.operation.name).startswith(PREPROCESSING):
        return False
    shape = tuple(node.outputs[0].shape)[1:]
    return len(shape) == 3 and None not in shape and shape[0] * shape[1] > 1


def require_map_layer(model: keras.Model, name: str) -> str:
    """Return the name of a layer with maps. Raises CutError if there is no such layer."""
    names = layers_with_maps(model)
    if name not in names:
        similar = closest(name, names) or [one for one in names if normalize(name) in normalize(one)][:MAX_SUGGESTIONS]
        more = "…, " if len(names) > MAX_LISTED else ""
        hint = question(similar) or f"Layers with maps: {more}{', '.join(names[-MAX_LISTED:]) or 'none'}."
        text = f"--layer {name}: not a layer with maps. {hint}"
        facts = {"received": name, "expected": tuple(names), "suggestions": tuple(similar)}
        raise CutError(Message("cut-layer-without-maps", text, key="layer", **facts))
    return name
