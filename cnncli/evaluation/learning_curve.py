"""Learning curves: accuracy over the number of training images, and the expected gain of more images.

Heads are solved on nested parts of the pooled training and validation images, as in a cross-validation: every image is
evaluated by heads that have not seen it. A power law is fitted to the errors, error = floor + scale · n^(−exponent)
(Hestness et al., arXiv 1712.00409), and extrapolated. Its uncertainty comes from refitting it to errors of images that
are resampled with replacement (groups as a whole), plus the scatter of training sets of the same size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import DataError, Message
from cnncli.evaluation.cross_validation import Pool, held_out_errors
from cnncli.runtime.random_keys import digest_words, generator, uniform_words

Array = NDArray[np.float64]

MAX_RUNGS = 7
"""Maximum number of training sizes, each of them half of the one before."""
MIN_RUNGS = 3
"""Fewest sizes to which a power law is fitted."""
MAX_DRAWS = 3
"""Maximum number of training sets of a size; of the two largest sizes, one is drawn."""
N_REFITS = 400
EXPONENTS = np.geomspace(0.1, 2.0, 40)
"""Exponents to choose from. Published ones for images are 0.1 to 0.6; those of a good start are steeper."""
FACTORS = (1, 2, 4, 10)
"""Multiples of the present number of images for which the accuracy is predicted."""
QUANTILES = (0.025, 0.975)
WORTHWHILE = 0.1
"""Fraction of the errors that twice as many images should remove to be called helpful."""


class PowerLaw(NamedTuple):
    """Errors floor + scale · n^(−exponent) of n images; each is an array (B,) for B fits."""

    floor: Array
    scale: Array
    exponent: Array

    def errors(self, n: float) -> Array:
        """Return the errors with n training images, (B,)."""
        return np.asarray(self.floor + self.scale * n**-self.exponent)

    def sizes(self, error: float) -> Array:
        """Return the numbers of images with an error, (B,); inf where it is never reached, 0 where it always is."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.where(error > self.floor, (error - self.floor) / self.scale, 0.0)
            sizes = np.where(ratio > 0, ratio ** (-1 / self.exponent), np.inf)
        return np.asarray(np.where((self.scale == 0) & (error >= self.floor), 0.0, sizes))


def fit_power_law(sizes: Array, errors: Array, variances: Array) -> PowerLaw:
    """Fit power laws to the errors (B, S) at sizes (S,), whose variances (S,) weight their squared deviations.

    For each exponent, floor and scale are those of a straight line, at least 0.
    """
    weights = 1 / variances
    best = np.full(len(errors), np.inf)
    floors, scales, exponents = np.zeros((3, len(errors)))
    for exponent in EXPONENTS:
        x = sizes**-exponent
        w, wx, wxx = weights.sum(), weights @ x, weights @ x**2
        we, wxe = errors @ weights, errors @ (weights * x)
        scale = (w * wxe - wx * we) / (w * wxx - wx**2)
        floor = (we - scale * wx) / w
        scale, floor = np.where(floor < 0, wxe / wxx, scale), np.maximum(floor, 0)
        scale, floor = np.maximum(scale, 0), np.where(scale < 0, we / w, floor)
        deviation = (errors - floor[:, None] - scale[:, None] * x) ** 2 @ weights
        is_better = deviation < best
        best = np.where(is_better, deviation, best)
        floors, scales = np.where(is_better, floor, floors), np.where(is_better, scale, scales)
        exponents = np.where(is_better, exponent, exponents)
    return PowerLaw(floors, scales, exponents)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, refits: Array) -> Estimate:
        """Return a value with the quantiles of the values of the refits."""
        low, high = np.quantile(refits, QUANTILES, method="nearest")
        return cls(float(value), min(float(low), float(value)), max(float(high), float(value)))


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy with a number of training images, or of images per class.

    Attributes:
        size: Number of training images, per class unless an image can have several.
        accuracy: Fraction of all images that heads which have not seen them classify correctly.
        n_draws: Number of training sets of this size for each fold.
    """

    size: float
    accuracy: Estimate
    n_draws: int


@dataclass(frozen=True)
class Forecast:
    """Predicted accuracy with `factor` times as many images as there are, and the gain over those that there are."""

    factor: int
    size: float
    accuracy: Estimate
    gain: Estimate


@dataclass(frozen=True)
class LearningCurve:
    """A learning curve with its extrapolation.

    Attributes:
        unit: What sizes count: `images per class`, or `images` if an image can have several labels.
        n: Number of images on which the accuracies are measured.
        n_folds: Number of folds.
        points: Measured accuracies, the smallest size first.
        law: The fitted power law, with a single entry.
        refits: The laws of the refits.
        forecasts: Predicted accuracies, that of the present number of images first.
        target: Accuracy that should be reached, and the number of images with which it is; inf for never.
    """

    unit: str
    n: int
    n_folds: int
    points: tuple[CurvePoint, ...]
    law: PowerLaw
    refits: PowerLaw
    forecasts: tuple[Forecast, ...]
    target: tuple[float, Estimate] | None = None

    @property
    def removed_by_doubling(self) -> Estimate:
        """Predicted fraction of the present errors that twice as many images remove; 0 if there are none."""
        value, refits = (self._removed(law) for law in (self.law, self.refits))
        return Estimate.of(float(value[0]), refits)

    def _removed(self, law: PowerLaw) -> Array:
        now, doubled = (law.errors(forecast.size) for forecast in self.forecasts[:2])
        return np.where(now > 0, 1 - doubled / np.maximum(now, np.finfo(float).tiny), 0.0)

    @property
    def would_help(self) -> bool:
        """Whether twice as many images are predicted to remove a worthwhile fraction of the errors."""
        return self.removed_by_doubling.value >= WORTHWHILE

    def fitted(self, size: float) -> Estimate:
        """Return the accuracy with a number of images by the law."""
        return _fitted(self.law, self.refits, size)

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `learning-curve --json`; numbers of images that are never enough are null."""
        return {
            "unit": self.unit,
            "n": self.n,
            "n_folds": self.n_folds,
            "points": self.points,
            "law": {name: float(value[0]) for name, value in self.law._asdict().items()},
            "forecasts": self.forecasts,
            "removed_by_doubling": self.removed_by_doubling,
            "would_help": self.would_help,
            "target": self.target and {"accuracy": self.target[0], "needed": self.target[1]},
        }


@dataclass(frozen=True)
class Measurements:
    """Errors on images that were held out, for training sets of several sizes.

    Attributes:
        sizes: Numbers of training images, per class unless an image can have several, (S,), the largest first.
        errors: Fraction of the training sets of each size after which each image is misclassified, (S, n).
        scatters: Fraction of all images that are misclassified after each training set, by size.
        units: Number of the group of each image, or of the image if it has none, (n,).
    """

    sizes: Array
    errors: Array
    scatters: Sequence[Array]
    units: NDArray[np.int64]

    @property
    def means(self) -> Array:
        """Fraction of errors of each size (S,)."""
        return np.asarray(self.errors.mean(axis=1))

    @property
    def drawn_variances(self) -> Array:
        """Variance of each mean (S,) by the draw of the training sets: a multiple of error / size.

        The multiple is found where several training sets were drawn.
        """
        draws, floor = np.array([len(one) for one in self.scatters]), 1 / self.errors.shape[1]
        scale = np.maximum(self.means, floor) / self.sizes  # that there were no errors does not make them impossible
        several = np.flatnonzero(draws > 1)
        if not len(several):
            return np.zeros(len(draws))
        multiples = [np.var(self.scatters[place], ddof=1) / scale[place] for place in several.tolist()]
        return np.asarray(np.average(multiples, weights=draws[several] - 1) * scale / draws)

    def redraw(self, seed: int) -> Array:
        """Return the errors of other images and training sets, (N_REFITS, S)."""
        rng, n_units = generator("learning curve", seed), int(self.units.max()) + 1
        counts = rng.multinomial(n_units, np.full(n_units, 1 / n_units), N_REFITS)[:, self.units].astype(np.float64)
        counts /= counts.sum(axis=1, keepdims=True)
        noise = rng.normal(size=(N_REFITS, len(self.sizes))) * np.sqrt(self.drawn_variances)
        return np.asarray((counts @ self.errors.T + noise).clip(0, 1))


def measure_learning_curve(pool: Pool, n_folds: int, seed: int, target: float | None = None) -> LearningCurve:
    """Measure the accuracy of a pool's head over the number of training images, and extrapolate it.

    Args:
        pool: The images.
        n_folds: Number of folds; a head is trained on at most n_folds − 1 of them.
        seed: Seed of folds and training sets.
        target: Accuracy for which the necessary number of images is predicted.

    Raises:
        DataError: There are too few images.
    """
    folds = pool.folds(n_folds, seed)
    n, n_classes = len(folds), 1 if pool.labels.ndim == 2 else len(pool.classes)
    sizes, errors, scatters = [], [], []
    for rung in range(MAX_RUNGS):
        draws = range(min(MAX_DRAWS, max(1, 2 ** (rung - 1))))
        orders = [nested_order(pool, folds, seed, draw)[: n >> rung] for draw in draws]
        if any(_is_too_small(order, folds, n_folds, n_classes) for order in orders):
            break
        wrong = np.array([held_out_errors(pool, folds, np.sort(order)) for order in orders], np.float64)
        sizes.append((n >> rung) * (n_folds - 1) / n_folds / n_classes)
        errors.append(wrong.mean(axis=0))
        scatters.append(wrong.mean(axis=1))
    if len(sizes) < MIN_RUNGS:
        text = f"{n} images are too few for a learning curve, which needs {MIN_RUNGS} sizes that halve."
        raise DataError(Message("data-too-few-for-curve", text, received=n, classes=n_classes))
    units = np.unique(pool.units, return_inverse=True)[1]
    unit = "images" if pool.labels.ndim == 2 else "images per class"
    return extrapolate(Measurements(np.array(sizes), np.array(errors), scatters, units), unit, n_folds, seed, target)


def _is_too_small(order: NDArray[np.int64], folds: NDArray[np.int64], n_folds: int, n_classes: int) -> bool:
    """Return whether a training set has too few images for its classes, or for the choice of a strength."""
    return len(order) < 2 * max(n_classes, n_folds) or np.bincount(folds[order], minlength=n_folds).min() == 0


def nested_order(pool: Pool, folds: NDArray[np.int64], seed: int, draw: int) -> NDArray[np.int64]:
    """Return a random order of a pool's images of which each beginning has the proportions of classes and folds.

    The images of a group follow one another in their fold and class, as more images would come.
    """
    words = digest_words([image.digest for image in pool.images])
    first = dict(sorted(zip(pool.units, words.tolist(), strict=True), reverse=True))  # the smallest word of each unit
    ranks = uniform_words(np.array([first[unit] for unit in pool.units], np.uint64), "learning curve", seed, draw)
    labels = np.zeros(len(folds), np.int64) if pool.labels.ndim == 2 else pool.labels
    n_folds = int(folds.max()) + 1
    turns = _places((labels, folds), ranks) * n_folds + (folds + labels) % n_folds  # the folds take turns
    places = _places((labels,), turns)
    return np.lexsort((ranks, (places + 0.5) / np.bincount(labels)[labels], places > 0))


def _places(cells: Sequence[NDArray[np.int64]], ranks: NDArray[Any]) -> NDArray[np.int64]:
    """Return the place of each image within its cell, in the order of the ranks."""
    order, numbers = np.lexsort((ranks, *cells)), np.arange(len(ranks))
    starts = np.any([np.diff(cell[order], prepend=-1) != 0 for cell in cells], axis=0)
    places = np.empty(len(order), np.int64)
    places[order] = numbers - np.maximum.accumulate(np.where(starts, numbers, 0))
    return places


def extrapolate(found: Measurements, unit: str, n_folds: int, seed: int, target: float | None = None) -> LearningCurve:
    """Fit a power law to measurements with `n_folds` folds, and predict accuracies with more images."""
    means, n = found.means, found.errors.shape[1]
    variances = np.maximum(means, 1 / n) * (1 - means) / n + found.drawn_variances + 1 / n**2
    redrawn = found.redraw(seed)
    law, refits = (fit_power_law(found.sizes, errors, variances) for errors in (means[None], redrawn))
    now = float(found.sizes[0]) * n_folds / (n_folds - 1)
    forecasts = []
    for factor in FACTORS:
        gain, others = (one.errors(now) - one.errors(factor * now) for one in (law, refits))
        accuracy = _fitted(law, refits, factor * now)
        forecasts.append(Forecast(factor, factor * now, accuracy, Estimate.of(float(gain[0]), others)))
    points = [
        CurvePoint(float(size), Estimate.of(1 - float(mean), 1 - errors), len(scatter))
        for size, mean, errors, scatter in zip(found.sizes, means, redrawn.T, found.scatters, strict=True)
    ]
    needed = None
    if target is not None:
        size, others = (one.sizes(1 - target) for one in (law, refits))
        needed = (target, Estimate.of(float(size[0]), others))
    return LearningCurve(unit, n, n_folds, tuple(reversed(points)), law, refits, tuple(forecasts), needed)


def _fitted(law: PowerLaw, refits: PowerLaw, size: float) -> Estimate:
    return Estimate.of(1 - float(law.errors(size)[0]), 1 - refits.errors(size))
