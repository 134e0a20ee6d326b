"""Cross-validate the head of a config on cached features: stratified, with groups that stay together, repeated.

Training and validation images are pooled; test images are never used. A head is solved exactly without each fold, with
scales of features and L2 strength from the other folds only, and evaluated on the fold. Every image is thus evaluated
once per seed by a head that has not seen it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from statistics import fmean, stdev
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cnncli.config.schema import Config
from cnncli.dataset.records import LABEL_SEPARATOR, ImageRecord
from cnncli.errors import DataError, Message
from cnncli.metrics.classification import (
    Metrics,
    accuracy_interval,
    are_correct,
    evaluate_logits,
    label_probabilities,
    probabilities_of,
)
from cnncli.metrics.multilabel import DEFAULT_THRESHOLD
from cnncli.networks.losses import evaluate_losses
from cnncli.training.exact_head import FrozenNetwork, head_problem, read_vectors
from cnncli.training.solvers.exact import MIN_FOLDS, solve_folds
from cnncli.training.solvers.folds import stratified_folds, units_of
from cnncli.training.solvers.problem import LinearHead

DEFAULT_FOLDS = 5
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Factor of the standard error in a two-sided 95 % interval by Student's t, for 1 to 15 degrees of freedom."""
T_BEYOND = 2.12
"""The same for 16 degrees of freedom, which is used for more: at most 8 % too wide."""


@dataclass(frozen=True)
class Pool:
    """Images with their features, on which the head of a config is cross-validated.

    Attributes:
        config: The config.
        classes: Class names, in the order of the scores.
        images: The images.
        labels: Their labels; see `Manifest.labels`.
        views: Their features in each view, float32 (n, features); view 0 is the image itself.
        boundaries: See `HeadProblem`.
    """

    config: Config
    classes: tuple[str, ...]
    images: Sequence[ImageRecord]
    labels: NDArray[Any]
    views: tuple[NDArray[np.float32], ...]
    boundaries: tuple[int, ...] = ()

    @classmethod
    def load(cls, frozen: FrozenNetwork) -> Self:
        """Load the training and validation images of a frozen network, and compute features that are not cached."""
        manifest = frozen.context.manifest
        images = (*manifest.split("train"), *manifest.split("validation"))
        source = frozen.load_images(images)
        views = tuple(read_vectors(source, view) for view in range(len(source.views)))
        return cls(frozen.context.config, manifest.classes, images, source.labels, views, source.boundaries)

    @cached_property
    def units(self) -> tuple[str, ...]:
        """For each image the smallest digest of the images that stay in one fold with it."""
        digests, groups = [image.digest for image in self.images], [image.group for image in self.images]
        smallest: dict[int, str] = {}
        for members in units_of(digests, groups):
            smallest |= dict.fromkeys(members, min(digests[place] for place in members))
        return tuple(smallest[place] for place in range(len(digests)))

    def folds(self, n_folds: int, seed: int) -> NDArray[np.int64]:
        """Return the fold of each image, 0 to n_folds − 1; see `stratified_folds`.

        Raises:
            DataError: There are too few images or groups.
        """
        digests, groups = [image.digest for image in self.images], [image.group for image in self.images]
        n, folds = len(set(self.units)), stratified_folds(self.labels, digests, groups, n_folds, seed)
        if n < max(n_folds, MIN_FOLDS) or np.bincount(folds, minlength=n_folds).min() == 0:
            text = f"{n_folds} folds need as many different images, or groups of images; there are {n}."
            raise DataError(Message("data-too-few-for-folds", text, received=n, expected=n_folds))
        return folds

    def solve(self, folds: NDArray[np.int64], chosen: NDArray[np.int64] | None = None) -> list[LinearHead]:
        """Solve the head without each fold, on all other images or those of them at the `chosen` positions."""
        rows = np.arange(len(self.images)) if chosen is None else chosen
        views = [view if chosen is None else view[rows] for view in self.views]
        labels, n_classes = self.labels[rows], len(self.classes)
        return solve_folds(head_problem(self.config, n_classes, views, self.boundaries, labels, folds[rows]))

    def held_out_logits(self, heads: Sequence[LinearHead], folds: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits (n, units) of each image by the head that was solved without its fold."""
        logits = np.empty((len(folds), len(heads[0].bias)), np.float32)
        for fold, head in enumerate(heads):
            held_out = folds == fold
            logits[held_out] = self.views[0][held_out] @ head.kernel + head.bias
        return logits

    def evaluate(self, logits: NDArray[np.float32], chosen: NDArray[np.bool_] | None = None) -> Metrics:
        """Return the metrics of logits (n, units) of all images, or of the chosen ones."""
        rows = slice(None) if chosen is None else chosen
        thresholds = (DEFAULT_THRESHOLD,) * len(self.classes)
        losses_of = partial(evaluate_losses, self.config.training.loss)
        activation = self.config.head.activation
        return evaluate_logits(logits[rows], self.labels[rows], self.classes, activation, thresholds, losses_of)


@dataclass(frozen=True)
class FoldResult:
    """Result of the head that was solved on `n_train` other images and evaluated on the `n` images of a fold."""

    n_train: int
    n: int
    accuracy: float
    loss: float
    l2: float


@dataclass(frozen=True)
class Repeat:
    """A cross-validation with folds drawn by one seed.

    Attributes:
        seed: Seed of the folds.
        folds: Result of each fold.
        metrics: Metrics of all images, each evaluated by the head that was solved without it.
        fold_of: Fold of each image, int64 (n,).
        logits: Logits of each image by the head that was solved without it, float32 (n, units).
    """

    seed: int
    folds: tuple[FoldResult, ...]
    metrics: Metrics
    fold_of: NDArray[np.int64] = field(repr=False)
    logits: NDArray[np.float32] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the results for JSON."""
        return {"seed": self.seed, **self.metrics.to_dict(), "folds": [vars(fold) for fold in self.folds]}


@dataclass(frozen=True)
class CrossValidation:
    """Results of a cross-validation, repeated with several seeds."""

    pool: Pool
    repeats: tuple[Repeat, ...]

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return len(self.repeats[0].folds)

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.pool.images)

    @cached_property
    def accuracy(self) -> float:
        """Fraction of correct predictions of images that were held out, averaged over the seeds."""
        return fmean(repeat.metrics.top1 for repeat in self.repeats)

    @property
    def loss(self) -> float:
        """Mean loss of images that were held out, averaged over the seeds."""
        return fmean(repeat.metrics.loss for repeat in self.repeats)

    @property
    def ci95(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy: what other images would change. Repeats add no images."""
        return accuracy_interval(self.accuracy, self.n)

    @property
    def seeds_ci95(self) -> tuple[float, float] | None:
        """95 % t-interval of the mean over the seeds: what other folds would change; None for a single seed."""
        accuracies = [repeat.metrics.top1 for repeat in self.repeats]
        if (n := len(accuracies)) < 2:
            return None
        factor = T_QUANTILES[n - 2] if n - 2 < len(T_QUANTILES) else T_BEYOND
        half = factor * stdev(accuracies) / math.sqrt(n)
        return max(0.0, self.accuracy - half), min(1.0, self.accuracy + half)

    @property
    def folds_std(self) -> float:
        """Standard deviation of the accuracy over all folds of all seeds."""
        return stdev(fold.accuracy for repeat in self.repeats for fold in repeat.folds)

    def per_class(self) -> dict[str, dict[str, float]]:
        """Return precision, recall and F1 of each class, averaged over the seeds, and its number of images."""
        results = {}
        for place, name in enumerate(self.pool.classes):
            found = [repeat.metrics.per_class[place] for repeat in self.repeats]
            means = {metric: fmean(getattr(one, metric) for one in found) for metric in ("precision", "recall", "f1")}
            results[name] = {**means, "n": found[0].n}
        return results

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `crossval --json`, which is also in runs with `data.folds`."""
        return {
            "n": self.n,
            "n_folds": self.n_folds,
            "accuracy": self.accuracy,
            "ci95": list(self.ci95),
            "seeds_ci95": self.seeds_ci95,
            "folds_std": self.folds_std,
            "loss": self.loss,
            "per_class": self.per_class(),
            "seeds": [repeat.to_dict() for repeat in self.repeats],
        }

    def predictions_text(self) -> str:
        """Return a CSV with a row per seed and image: its fold, label, prediction and confidence."""
        text = io.StringIO(newline="")
        table = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        names = ("labels", "predictions") if self.pool.labels.ndim == 2 else ("label", "prediction")
        table.writerow(("path", *names, "confidence", "fold", "seed"))
        for repeat in self.repeats:
            table.writerows(self._rows(repeat))
        return text.getvalue()

    def _rows(self, repeat: Repeat) -> Iterator[tuple[object, ...]]:
        """Yield the rows of a seed. With several labels, the confidence is that of the least certain decision."""
        if self.pool.labels.ndim == 2:
            scores = label_probabilities(repeat.logits)
            is_predicted = scores >= DEFAULT_THRESHOLD
            confidences = np.maximum(scores, 1 - scores).min(axis=1)
        else:
            scores = probabilities_of(repeat.logits, self.pool.config.head.activation)
            is_predicted = np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None]
            confidences = scores.max(axis=1)
        for image, row, confidence, fold in zip(
            self.pool.images, is_predicted, confidences.tolist(), repeat.fold_of.tolist(), strict=True
        ):
            predictions = LABEL_SEPARATOR.join(self.pool.classes[place] for place in np.flatnonzero(row))
            labels = LABEL_SEPARATOR.join(image.labels)
            yield image.file, labels, predictions, round(confidence, 6), fold, repeat.seed


def cross_validate(pool: Pool, n_folds: int, seeds: Sequence[int]) -> CrossValidation:
    """Cross-validate the head of a pool with folds drawn by each of the seeds.

    Raises:
        DataError: There are too few images or groups for the folds.
    """
    return CrossValidation(pool, tuple(_repeat(pool, n_folds, seed) for seed in seeds))


def _repeat(pool: Pool, n_folds: int, seed: int) -> Repeat:
    folds = pool.folds(n_folds, seed)
    heads = pool.solve(folds)
    logits = pool.held_out_logits(heads, folds)
    results = []
    for fold, head in enumerate(heads):
        held_out = folds == fold
        found, n = pool.evaluate(logits, held_out), int(held_out.sum())
        results.append(FoldResult(len(folds) - n, n, found.top1, found.loss, head.solution.l2))
    return Repeat(seed, tuple(results), pool.evaluate(logits), folds, logits)


def held_out_errors(pool: Pool, folds: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each image of a pool is misclassified by the head solved on the chosen images of other folds."""
    logits = pool.held_out_logits(pool.solve(folds, chosen), folds)
    return ~are_correct(logits, pool.labels, pool.config.head.activation)
