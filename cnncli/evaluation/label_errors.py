"""Find labels that are probably wrong by confident learning: Northcutt, Jiang and Chuang 2021 (arXiv 1911.00068).

The probabilities must be those of classifiers that have not seen the label of the image. The thresholds and decisions
are those of cleanlab, which tests use as the oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.evaluation.components import principal_components
from cnncli.metrics.classification import label_probabilities, probabilities_of
from cnncli.training.solvers.exact import FOLDS, STRENGTHS
from cnncli.training.solvers.folds import stratified_folds
from cnncli.training.solvers.ridge import cross_validate, fit_sharpness

Array = NDArray[Any]

LEAST_IMAGES = 10
"""Minimum number of different images, or of groups, so that folds and the folds within them have several each."""

LEAST_USED = 0.6
"""Fraction of the images below which the first round leaves too few for a second one."""
COMPONENTS = 128
"""Number of principal components of the features, or twice the number of classes, if that is more. On cats and dogs
with 2 % of the labels wrong, more components find fewer of them."""

_TOLERANCE = 1e-6  # below a threshold, as in cleanlab


@dataclass(frozen=True)
class LabelReview:
    """Estimates of which labels of n images are wrong.

    Attributes:
        scores: float64 (n,), 0-1. The normalized margin: half of 1 plus the probability of the most probable other
            class minus that of the label. Above 0.5, another class is more probable.
        suggested: Most probable class, int64 (n,); with several labels per image uint8 (n, classes), the labels without
            those that are improbable, and with those that are missing.
        flagged: bool (n,), whether confident learning counts the label as wrong.
    """

    scores: NDArray[np.float64]
    suggested: Array
    flagged: NDArray[np.bool_]

    @property
    def ranking(self) -> NDArray[np.int64]:
        """Positions of the images, the most suspicious first."""
        return np.argsort(-self.scores, kind="stable")


def review_labels(
    features: NDArray[np.float32],
    labels: Array,
    digests: Sequence[str],
    groups: Sequence[str],
    n_classes: int,
    seed: int,
) -> LabelReview:
    """Review labels by linear classifiers on features, in two rounds.

    The first round finds labels that are probably wrong, and the second solves its classifiers without them, so that
    they do not vouch for each other.

    Args:
        features: float32 (n, features).
        labels: int64 (n,) classes, or uint8 (n, classes) with 1 for each label.
        digests: SHA-256 of each image. Identical images are in one fold.
        groups: Name of each image's group, which is in one fold; empty if there are no groups.
        n_classes: Number of classes or labels.
        seed: Seed of the folds.
    """
    folds = stratified_folds(labels, digests, groups, FOLDS, seed)
    deviation = features.std(axis=0)
    standardized = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    rows = principal_components(standardized, max(COMPONENTS, 2 * n_classes))
    use = np.ones(len(labels), bool)
    review = score_labels(out_of_fold_probabilities(rows, labels, folds, n_classes, use), labels)
    use = review.scores <= 0.5
    if use.mean() < LEAST_USED:
        return review
    return score_labels(out_of_fold_probabilities(rows, labels, folds, n_classes, use), labels)


def out_of_fold_probabilities(
    rows: Array, labels: Array, folds: NDArray[np.int64], n_classes: int, use: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the probabilities (n, classes) of each image by ridge regression on the images of other folds.

    Least squares follow wrong labels less than the cross-entropy, whose loss has no bound. The strength is the one with
    the least squared error, and a factor turns the scores into logits. Only the images of `use` (n,) solve
    the regressions; the factor fits all, so that probabilities are as certain as the labels are right.
    """
    is_softmax = labels.ndim == 1
    targets = np.eye(n_classes)[labels] if is_softmax else labels.astype(np.float64)
    weights = use[:, None].astype(np.float64)
    held_out = cross_validate(rows, targets, weights, folds, STRENGTHS)
    scores = min(held_out, key=lambda one: float(np.square(one - targets)[use].mean()))
    scores = scores - (0.0 if is_softmax else 0.5)
    n = len(labels)
    smooth = targets * (1 - 1 / n) + 1 / (n * (n_classes if is_softmax else 2))  # the factor must be finite
    logits = fit_sharpness(scores, smooth, is_softmax=is_softmax) * scores
    return probabilities_of(logits, "softmax") if is_softmax else label_probabilities(logits)


def score_labels(probabilities: NDArray[np.float64], labels: Array) -> LabelReview:
    """Score the labels of images from out-of-fold probabilities (n, classes)."""
    if labels.ndim == 2:
        return _score_each_label(probabilities, labels)
    places = np.arange(len(labels))
    others = probabilities.copy()
    others[places, labels] = -1.0
    margin = others.max(axis=1) - probabilities[places, labels]
    return LabelReview((1 + margin) / 2, probabilities.argmax(axis=1), find_confident_errors(probabilities, labels))


def _score_each_label(probabilities: NDArray[np.float64], labels: Array) -> LabelReview:
    """Score several labels per image: each is a problem of two classes, and the worst one counts."""
    wrong = np.where(labels > 0, 1 - probabilities, probabilities)
    flags = [
        find_confident_errors(np.stack([1 - p, p], axis=1), given.astype(np.int64))
        for p, given in zip(probabilities.T, labels.T, strict=True)
    ]
    suggested = np.where(wrong > 0.5, 1 - labels, labels).astype(np.uint8)
    return LabelReview(wrong.max(axis=1), suggested, np.any(flags, axis=0))


def find_confident_errors(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether an image belongs confidently to a class other than its label, bool (n,).

    An image is confidently of a class if the probability is at least the mean one of the images with that label.
    """
    n_classes = probabilities.shape[1]
    means = [probabilities[labels == k, k].mean() if (labels == k).any() else np.inf for k in range(n_classes)]
    is_confident = probabilities >= np.array(means) - _TOLERANCE
    most_probable = probabilities.argmax(axis=1)
    confident = np.where(is_confident.sum(axis=1) > 1, most_probable, is_confident.argmax(axis=1))
    return np.asarray(is_confident.any(axis=1) & (confident != labels) & (most_probable != labels))
