"""The loss of each image: in the graph of training, and from the logits of an evaluation."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.losses import CROSS_ENTROPY, LOSSES
from cnncli.metrics.classification import plain_losses
from cnncli.metrics.losses import OWN_LOSSES, outputs_of, targets_of
from cnncli.networks.backend import import_keras


def compute_losses(loss: str, logits: Any, targets: Any, activation: str) -> Any:
    """Return the loss of each image as a tensor (n,).

    Args:
        loss: A name of `LOSSES`.
        logits: Tensor (n, units).
        targets: Tensor (n, units) in 0-1.
        activation: Activation of the head.
    """
    keras = import_keras()
    if loss == CROSS_ENTROPY:
        losses = keras.losses
        function = losses.binary_crossentropy if activation == "sigmoid" else losses.categorical_crossentropy
        return function(targets, logits, from_logits=True)
    if own := OWN_LOSSES.get(loss):
        return own(keras.ops, logits, targets, activation)
    return _keras_losses(loss, logits, targets, activation)


def evaluate_losses(loss: str, logits: NDArray[Any], labels: NDArray[Any], activation: str) -> NDArray[np.float64]:
    """Return the plain loss of each image (n,), exactly except for losses of Keras, which compute in float32."""
    if LOSSES[loss].class_name is None:
        return plain_losses(logits, labels, activation, loss)
    targets = targets_of(labels, logits.shape[1]).astype(np.float32)
    found = _keras_losses(loss, logits.astype(np.float32), targets, activation)
    return np.asarray(import_keras().ops.convert_to_numpy(found), np.float64)


def _keras_losses(loss: str, logits: Any, targets: Any, activation: str) -> Any:
    """Return the values of a class of keras.losses with its default arguments, for the outputs of the head.

    Losses are computed from logits if they can be and the head applies the activation that they assume.
    """
    keras, info = import_keras(), LOSSES[loss]
    kind, is_binary = getattr(keras.losses, str(info.class_name)), str(info.class_name).startswith("Binary")
    parameters = inspect.signature(kind).parameters
    arguments: dict[str, Any] = {"axis": (1,)} if parameters.get("axis") and parameters["axis"].default is None else {}
    outputs = logits
    if "from_logits" in parameters and (activation == "linear" or (activation == "sigmoid") == is_binary):
        arguments["from_logits"] = True
    else:
        outputs = outputs_of(keras.ops, logits, activation)
    truth = keras.ops.argmax(targets, axis=1) if info.takes_indices else targets
    return kind(reduction=None, **arguments)(truth, outputs)
