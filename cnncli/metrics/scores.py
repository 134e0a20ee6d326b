"""From a classifier's logits to probabilities and the plain loss, in float64 and without a network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[Any]


def probabilities_of(logits: Logits, activation: str) -> NDArray[np.float64]:
    """Return the class probabilities of logits.

    Args:
        logits: (n, units), any float dtype.
        activation: The head's. `softmax` and `linear` distribute the probability over the classes. `sigmoid` with one
            unit is the probability of the second of two classes; with several units, one independent probability each.

    Returns:
        Float64 (n, classes) in 0-1.
    """
    z = logits.astype(np.float64)
    if activation != "sigmoid":
        return np.asarray(np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True)))
    positive = np.exp(-np.logaddexp(0.0, -z))
    if z.shape[1] > 1:
        return np.asarray(positive)
    return np.concatenate([np.exp(-np.logaddexp(0.0, z)), positive], axis=1)


def ranking_scores(logits: Logits, activation: str) -> NDArray[np.float64]:
    """Return scores (n, classes) that rank the classes as their probabilities do, without saturating at 1."""
    z = logits.astype(np.float64)
    return np.concatenate([-z, z], axis=1) if activation == "sigmoid" and z.shape[1] == 1 else z


def plain_losses(logits: Logits, labels: NDArray[np.int64], activation: str) -> NDArray[np.float64]:
    """Return the exact cross-entropy (n,) of each image in nats, without smoothing, class weights or penalties.

    Args:
        logits: (n, units).
        labels: (n,) class indices.
        activation: The head's. `sigmoid` means binary cross-entropy, averaged over the units as Keras does.
    """
    z = logits.astype(np.float64)
    if activation != "sigmoid":
        return np.asarray(np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), labels])
    target = labels[:, None] if z.shape[1] == 1 else np.arange(z.shape[1])[None] == labels[:, None]
    return np.asarray(np.mean(np.logaddexp(0.0, z) - z * target, axis=1))
