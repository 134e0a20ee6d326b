"""L1 and L2 penalties on all trained kernels, as losses of the training objective."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cnncli.networks.backend import import_keras


def kernel_penalties(variables: Iterable[Any], l1: float, l2: float) -> list[Any]:
    """Return l1 · Σ|w| + l2 · Σw² of each kernel, as Keras's regularizers compute it; none without a penalty.

    Biases, normalization and embeddings are not penalized, and neither are frozen layers. An optimizer's
    `weight_decay` is a different method: it changes the weights directly, not the gradient.
    """
    if not l1 and not l2:
        return []
    penalty = import_keras().regularizers.L1L2(l1, l2)
    return [penalty(variable) for variable in variables if variable.name.endswith("kernel")]
