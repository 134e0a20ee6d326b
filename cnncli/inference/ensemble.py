"""Ensembles: several runs that answer together, by the mean of their probabilities or by vote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import ConfigError, Message, printable
from cnncli.inference.spec import PredictorSpec
from cnncli.metrics.multilabel import DEFAULT_THRESHOLD

Rule = Literal["mean", "vote"]
SMALLEST = 1e-300
"""Lower bound of a probability whose logarithm is taken."""


def require_same_classes(names: Sequence[str], specs: Sequence[PredictorSpec]) -> None:
    """Raise ConfigError if runs, given by their names, do not have the same classes, or not the same kind of labels."""
    first = specs[0]
    for name, spec in zip(names, specs, strict=True):
        if (spec.classes, spec.is_multi_label) != (first.classes, first.is_multi_label):
            text = f"{printable(name)}: its classes ({', '.join(map(printable, spec.classes[:5]))}, …) are not those of"
            facts = {"received": spec.classes, "expected": first.classes}
            message = f"{text} {printable(names[0])}; an ensemble needs runs with the same classes."
            raise ConfigError(Message("run-other-classes", message, path=name, **facts))


def combine(
    probabilities: Sequence[NDArray[np.float64]], thresholds: Sequence[Sequence[float]], rule: Rule
) -> tuple[NDArray[np.float64], tuple[float, ...]]:
    """Combine the probabilities (n, classes) of several runs.

    With `mean`: their mean, and that of the thresholds. With `vote`: each run votes for its class, or for the labels
    that reach their thresholds, and the result is the fraction of the votes. The mean probability counts as one more,
    divided vote, which decides between classes with the same number of votes.

    Args:
        probabilities: Probabilities of each run.
        thresholds: Thresholds of each run; empty unless an image can have several labels.
        rule: How the runs are combined.

    Returns:
        Probabilities (n, classes), and the thresholds for them.
    """
    mean = np.mean(probabilities, axis=0)
    if rule == "mean":
        return mean, tuple(np.mean(thresholds, axis=0).tolist()) if thresholds[0] else ()
    if thresholds[0]:
        votes = [one >= np.asarray(limits) for one, limits in zip(probabilities, thresholds, strict=True)]
    else:
        votes = [np.arange(one.shape[1]) == one.argmax(axis=1)[:, None] for one in probabilities]
    combined = (np.sum(votes, axis=0) + mean) / (len(probabilities) + 1)
    return combined, (DEFAULT_THRESHOLD,) * len(thresholds[0])


def to_logits(probabilities: NDArray[np.float64], *, is_multi_label: bool) -> NDArray[np.float64]:
    """Return logits (n, classes) of a softmax or, label by label, of a sigmoid with the given probabilities."""
    logits = np.log(np.maximum(probabilities, SMALLEST))
    return np.asarray(logits - np.log(np.maximum(1 - probabilities, SMALLEST)) if is_multi_label else logits)
