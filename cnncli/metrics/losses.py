"""Losses of a classifier from its logits, written once for NumPy and for Keras.

Each function takes a module of operations (`numpy` or `keras.ops`), logits (n, units), targets (n, units) in 0-1, and
the activation of the head, and returns the loss of each image (n,). Training computes them in its graph, `evaluate`
in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOCUS = 2.0
"""Exponent of the focal loss (gamma)."""
MARGIN = 1.0
"""Margin of the multiclass hinge loss."""


def hinge(ops: Any, scores: Any, targets: Any, _activation: str) -> Any:
    """Return the multiclass SVM loss Σ max(0, sⱼ − s + 1) over the wrong classes j, for the score s of the true class.

    J. Weston, C. Watkins, ESANN 1999; the loss of the course CS231n. Keras's CategoricalHinge is another loss: it
    counts only the wrong class with the highest score.
    """
    own = ops.sum(scores * targets, axis=1, keepdims=True)
    return ops.sum(ops.maximum(scores - own + MARGIN, 0.0) * (1.0 - targets), axis=1)


def squared_error(ops: Any, logits: Any, targets: Any, activation: str) -> Any:
    """Return ½ Σ (target − output)² over the outputs of the head: probabilities, or scores if it is linear."""
    return ops.sum(ops.square(targets - outputs_of(ops, logits, activation)), axis=1) / 2.0


def focal(ops: Any, logits: Any, targets: Any, activation: str) -> Any:
    """Return the focal loss −(1 − p)² log p for the probability p of the truth; sigmoids are averaged.

    T.-Y. Lin et al., arXiv 1708.02002, with γ = 2 and without α, for which there are class weights.
    """
    if activation != "sigmoid":
        log_p = _log_softmax(ops, logits)
        return ops.sum(-targets * (1.0 - ops.exp(log_p)) ** FOCUS * log_p, axis=1)
    log_p, log_q = -ops.logaddexp(0.0, -logits), -ops.logaddexp(0.0, logits)
    present = targets * ops.exp(FOCUS * log_q) * log_p
    absent = (1.0 - targets) * ops.exp(FOCUS * log_p) * log_q
    return -ops.mean(present + absent, axis=1)


def outputs_of(ops: Any, logits: Any, activation: str) -> Any:
    """Return the outputs of the head for its logits."""
    if activation == "linear":
        return logits
    return ops.exp(-ops.logaddexp(0.0, -logits) if activation == "sigmoid" else _log_softmax(ops, logits))


def targets_of(labels: NDArray[Any], units: int) -> NDArray[np.float64]:
    """Return the targets (n, units) of labels: class indices (n,), or 0 and 1 for each class (n, units)."""
    if labels.ndim == 2:
        return np.asarray(labels, np.float64)
    classes = np.ones(1) if units == 1 else np.arange(units)
    return np.asarray(labels[:, None] == classes[None], np.float64)


def _log_softmax(ops: Any, logits: Any) -> Any:
    shifted = logits - ops.max(logits, axis=1, keepdims=True)
    return shifted - ops.log(ops.sum(ops.exp(shifted), axis=1, keepdims=True))


OWN_LOSSES: Mapping[str, Callable[[Any, Any, Any, str], Any]] = {
    "hinge": hinge,
    "squared-error": squared_error,
    "focal": focal,
}
"""Losses besides cross-entropy that Keras does not have in this form, by their names in `cnncli.catalogue.losses`."""
