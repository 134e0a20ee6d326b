"""`cnncli demo loss` and `cnncli demo penalty`: the arithmetic of losses and weight penalties, term by term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import ConfigError, Message
from cnncli.metrics.losses import FOCUS, MARGIN, OWN_LOSSES, hinge, outputs_of, targets_of

DIGITS = 4
MAX_SCORE = 300
"""Largest magnitude of a score, whose exponential is still a number."""
MAX_SUM_ERROR = 0.02
"""Largest difference from 1 of the sum of probabilities, which may be rounded: 0.33, 0.33, 0.33."""


@dataclass(frozen=True)
class LossStep:
    """A loss of a sample: its value, and the calculation that leads to it."""

    name: str
    value: float
    calculation: str


@dataclass(frozen=True)
class Sample:
    """Scores or probabilities of a sample, its true class counted from 1, and its losses."""

    values: tuple[float, ...]
    true: int
    losses: tuple[LossStep, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the sample for JSON."""
        losses = {one.name: {"value": one.value, "calculation": one.calculation} for one in self.losses}
        return {"values": list(self.values), "true": self.true, "losses": losses}


@dataclass(frozen=True)
class LossDemo:
    """Losses of some samples."""

    samples: tuple[Sample, ...]

    @property
    def means(self) -> dict[str, float]:
        """Mean of each loss over the samples."""
        columns = zip(*(sample.losses for sample in self.samples), strict=True)
        return {column[0].name: float(np.mean([one.value for one in column])) for column in columns}

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `demo loss --json`."""
        return {"samples": [one.to_dict() for one in self.samples], "mean": self.means}


def explain_losses(
    samples: Sequence[Sequence[float]], true: Sequence[int], are_probabilities: bool = False, factor: float = 1.0
) -> LossDemo:
    """Explain the losses of samples.

    Args:
        samples: Scores of the classes, or their probabilities.
        true: True class of each sample, counted from 1.
        are_probabilities: Whether the samples are probabilities, 0-1, which have no hinge loss.
        factor: Factor of the scores, as if the weights of the output layer were larger.

    Raises:
        ConfigError: Samples and classes do not fit together, or probabilities are not in 0-1 or their sum is not 1.
    """
    _check([[factor * one for one in values] for values in samples], true, are_probabilities)
    explain = _of_probabilities if are_probabilities else _of_scores
    found = []
    for given, own in zip(samples, true, strict=True):
        values = factor * np.array(given, np.float64)
        found.append(Sample(tuple(values.tolist()), own, tuple(explain(values, own - 1))))
    return LossDemo(tuple(found))


def _check(samples: Sequence[Sequence[float]], true: Sequence[int], are_probabilities: bool) -> None:
    problems = []
    if len(samples) != len(true):
        problems.append(_wrong("--true", len(true), f"the true class of each of the {len(samples)} samples"))
    for values, own in zip(samples, true, strict=False):
        if len(values) < 2 or not all(abs(one) <= MAX_SCORE for one in values):
            expected = f"at least two numbers from −{MAX_SCORE} to {MAX_SCORE}"
            problems.append(_wrong("--scores", list(values), expected))
        elif not 1 <= own <= len(values):
            problems.append(_wrong("--true", own, f"a class from 1 to {len(values)}"))
        if are_probabilities and not all(0 <= one <= 1 for one in values):
            problems.append(_wrong("--probabilities", list(values), "numbers from 0 to 1"))
        elif are_probabilities and abs(sum(values) - 1) > MAX_SUM_ERROR:
            expected = f"numbers with the sum 1, not {sum(values):.4g}"
            problems.append(_wrong("--probabilities", list(values), expected))
    if problems:
        raise ConfigError(problems)


def _wrong(key: str, received: object, expected: str) -> Message:
    text = f"{key}: received {received}, expected {expected}."
    return Message("usage-value-invalid", text, key=key, received=received, expected=expected)


def _of_scores(scores: NDArray[np.float64], own: int) -> list[LossStep]:
    """Return hinge losses, and those of the softmax of the scores."""
    others = [score for place, score in enumerate(scores) if place != own]
    margins = [max(0.0, score - scores[own] + MARGIN) for score in others]
    true = _text(scores[own]) if scores[own] >= 0 else f"({_text(scores[own])})"
    parts = [f"max(0, {_text(score)} − {true} + 1)" for score in others]
    z, targets = scores[None], targets_of(np.array([own]), len(scores))
    worst = int(np.argmax(margins))
    powers = np.exp(scores)
    whole = " + ".join(map(_text, powers))
    softmax = f"softmax: {_text(powers[own])} / ({whole}) = {_text(float(powers[own] / powers.sum()))}"
    return [
        LossStep("hinge", float(hinge(np, z, targets, "linear")[0]), f"{' + '.join(parts)} = {_sum(margins)}"),
        LossStep("CategoricalHinge (Keras)", margins[worst], f"{parts[worst]}, only the worst class"),
        *_of_probabilities(outputs_of(np, z, "softmax")[0], own, softmax + ", "),
    ]


def _of_probabilities(p: NDArray[np.float64], own: int, prefix: str = "") -> list[LossStep]:
    """Return cross-entropy, squared error and focal loss of probabilities."""
    targets = targets_of(np.array([own]), len(p))
    log_p = float(np.log(max(p[own], np.finfo(float).tiny)))
    squares = " + ".join(f"({int(place == own)} − {_text(one)})²" for place, one in enumerate(p))
    error = float(OWN_LOSSES["squared-error"](np, p[None], targets, "linear")[0])
    return [
        LossStep("cross-entropy", -log_p, f"{prefix}−log({_text(p[own])})"),
        LossStep("squared-error", error, f"½ ({squares})"),
        LossStep("focal", float(-((1 - p[own]) ** FOCUS) * log_p), f"−(1 − {_text(p[own])})² log({_text(p[own])})"),
    ]


@dataclass(frozen=True)
class Penalty:
    """Weights of one unit with their score for an input, and their penalties."""

    weights: tuple[float, ...]
    score: float | None
    l1: float
    l2: float

    def to_dict(self) -> dict[str, Any]:
        """Return the weights for JSON."""
        return {"weights": list(self.weights), "score": self.score, "l1": self.l1, "l2": self.l2}


def explain_penalties(weights: Sequence[Sequence[float]], inputs: Sequence[float] | None) -> list[Penalty]:
    """Return score, L1 (sum of magnitudes) and L2 (sum of squares) of several weights, as in `l1: 1` and `l2: 1`.

    Raises:
        ConfigError: Weights and input differ in length.
    """
    wrong = [one for one in weights if inputs is not None and len(one) != len(inputs)]
    if wrong and inputs is not None:
        expected = f"{len(inputs)} numbers, as in --inputs"
        raise ConfigError([_wrong("--weights", list(one), expected) for one in wrong])
    return [
        Penalty(
            tuple(one),
            None if inputs is None else float(np.dot(one, inputs)),
            l1=float(np.abs(one).sum()),
            l2=float(np.square(one).sum()),
        )
        for one in weights
    ]


def _sum(terms: Sequence[float]) -> str:
    return " + ".join(map(_text, terms))


def _text(value: float) -> str:
    return f"{value:.{DIGITS}g}".replace("-", "−")
