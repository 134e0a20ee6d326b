"""Learning rate range test (Smith, arXiv 1506.01186): the loss while the learning rate grows from step to step.

The rates are a geometric series, as the useful ones differ by powers of ten. The loss of a batch is noisy, so it is
smoothed by an exponential moving average, corrected for its start as in Adam.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import NonFiniteError
from cnncli.training.inputs import Batch, BatchSource
from cnncli.training.mixing import MixedBatch, Mixing
from cnncli.training.steps import TrainStep

SMOOTHING = 0.9
"""Fraction of the moving average that each step keeps."""
DIVERGED = 4.0
"""The test ends when the smoothed loss is this many times the lowest one."""
BEGUN = 0.1
"""Fraction of the whole fall of the loss at which it has begun to fall."""
LEAST_FALL = 0.02
"""Fraction of the first loss by which it has to fall for any learning rate to be suggested."""


@dataclass(frozen=True)
class RatePoint:
    """A step: its learning rate, the mean plain loss of its images before its update, and the smoothed loss."""

    learning_rate: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class RateRange:
    """Result of a range test.

    Attributes:
        points: The steps.
        diverged: Whether the loss grew far beyond the lowest one, or became NaN or Inf, before the last rate.
        suggested: Rate at which the loss falls fastest; None if it hardly falls.
        low: Rate at which the loss has begun to fall, the lower end for a cyclical schedule; None as above.
        high: Rate of the lowest loss, the upper end; rates above it make training worse.
    """

    points: tuple[RatePoint, ...]
    diverged: bool
    suggested: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, rates: NDArray[np.float64], losses: NDArray[np.float64], diverged: bool) -> RateRange:
        """Return the result for the losses of the first steps.

        >>> rates = np.geomspace(1e-4, 1, 9)
        >>> found = RateRange.of(rates, np.array([2, 2, 2, 1.9, 1.0, 0.5, 0.4, 3, 9]), True)
        >>> found.low <= found.suggested <= found.high
        True
        """
        smoothed = smooth(losses)
        points = tuple(map(RatePoint, rates.tolist(), losses.tolist(), smoothed.tolist()))
        if not len(losses):
            return cls(points, diverged)
        lowest, first = int(smoothed.argmin()), smoothed[0]
        fall = first - smoothed[lowest]
        if fall < LEAST_FALL * first:
            return cls(points, diverged)
        begun = int(np.argmax(smoothed <= first - BEGUN * fall))
        slopes = np.gradient(smoothed[: lowest + 1])  # the rates are evenly spaced in the logarithm
        steepest = begun + int(slopes[begun:].argmin())
        return cls(points, diverged, *(_rounded(rates[place]) for place in (steepest, begun, lowest)))


def smooth(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the moving average of losses, of which the first one is unchanged.

    >>> smooth(np.array([2.0, 2.0, 2.0])).tolist()
    [2.0, 2.0, 2.0]
    """
    average, smoothed = 0.0, []
    for number, loss in enumerate(losses.tolist(), start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smoothed.append(round(average / (1 - SMOOTHING**number), 12))
    return np.array(smoothed)


def measure_rate_range(
    step: TrainStep, train: BatchSource, mixing: Mixing | None, stage: str, batch_size: int, rates: NDArray[np.float64]
) -> RateRange:
    """Train one update with each of the growing rates, in the order of batches of a training, until it diverges.

    Args:
        step: The training step with the initial weights, which it changes.
        train: Training images.
        mixing: Mixing of images, or None.
        stage: Name of the stage.
        batch_size: Number of images of a batch.
        rates: Learning rates, increasing.
    """
    batches, n_batches = _endless(train, mixing, stage, batch_size), step.settings.accumulation
    losses: list[float] = []
    for rate in rates.tolist():
        factors = iter([rate / step.base_learning_rate] * n_batches)
        try:
            totals = step.train_epoch(list(islice(batches, n_batches)), factors, "range test")
        except NonFiniteError:
            return RateRange.of(rates, np.array(losses), diverged=True)
        losses.append(totals.loss / totals.images)
        smoothed = smooth(np.array(losses))
        if smoothed[-1] > DIVERGED * smoothed.min():
            return RateRange.of(rates, np.array(losses), diverged=True)
    return RateRange.of(rates, np.array(losses), diverged=False)


def _endless(
    train: BatchSource, mixing: Mixing | None, stage: str, batch_size: int
) -> Iterator[Batch | MixedBatch | Any]:
    """Yield the batches of one epoch after another."""
    for epoch in count(1):
        batches = train.epoch(stage, epoch, batch_size)
        yield from mixing.epoch(batches, stage, epoch, 0) if mixing else batches


def _rounded(rate: float) -> float:
    """Return a rate with two digits, as precisely as it is known."""
    return float(f"{rate:.2g}")
