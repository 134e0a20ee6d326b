"""Compare classifiers on the same images: an exact test of each pair, and the images on which they disagree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.records import ImageRecord

SIGNIFICANT = 0.05
"""p-value, adjusted for the number of pairs, below which a difference is called one."""
Z95 = 1.959964
"""Standard errors on each side in a 95 % interval of a normal variable."""


@dataclass(frozen=True)
class PairedTest:
    """Comparison of two classifiers on the same images.

    Attributes:
        first, second: Names of the classifiers.
        n: Number of images.
        only_first, only_second: Number of images that only one of them classifies correctly.
        p: Two-sided p-value of the exact McNemar test: the probability of a split of the images that only one
            classifies correctly at least as uneven as this one, if both were equally good.
        p_holm: The same, adjusted for the number of pairs by Holm's method.
    """

    first: str
    second: str
    n: int
    only_first: int
    only_second: int
    p: float
    p_holm: float

    @property
    def difference(self) -> float:
        """Accuracy of the second minus that of the first."""
        return (self.only_second - self.only_first) / self.n

    @property
    def ci95(self) -> tuple[float, float]:
        """95 % interval of the difference, for paired fractions: A. Agresti, Y. Min, Stat. Med. 24 (2005) 729."""
        one, other, n = self.only_first + 0.5, self.only_second + 0.5, self.n + 2
        half = Z95 * math.sqrt(one + other - (other - one) ** 2 / n) / n
        return max(-1.0, (other - one) / n - half), min(1.0, (other - one) / n + half)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        return {**vars(self), "difference": self.difference, "difference_ci95": list(self.ci95)}


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of the exact McNemar test: a binomial test of the images that only one gets right.

    The example of M. P. Fay, The R Journal 2 (2010) 53, function `mcnemar.exact`:

    >>> round(mcnemar_p(2, 9), 5)
    0.06543
    """
    n, smaller = only_first + only_second, min(only_first, only_second)
    tail, ways = 0, 1  # integers of any size: exact
    for k in range(smaller + 1):
        tail, ways = tail + ways, ways * (n - k) // (k + 1)  # n over k, n over k + 1
    return min(1.0, float(2 * tail / 2**n))


def compare_pairs(correct: Mapping[str, NDArray[np.bool_]]) -> tuple[PairedTest, ...]:
    """Compare each pair of classifiers, given whether each of them classifies each image (n,) correctly."""
    tests = []
    for (first, one), (second, other) in combinations(correct.items(), 2):
        counts = int((one & ~other).sum()), int((other & ~one).sum())
        p = mcnemar_p(*counts)
        tests.append(PairedTest(first, second, len(one), *counts, p, p))
    adjusted = holm([test.p for test in tests])
    return tuple(replace(test, p_holm=p) for test, p in zip(tests, adjusted, strict=True))


def holm(p_values: Sequence[float], n: int | None = None) -> list[float]:
    """Return p-values adjusted for their number: S. Holm, Scand. J. Stat. 6 (1979) 65.

    Args:
        p_values: The p-values.
        n: Number of tests of which these are some, default: all of them. The p-values of the others are not needed: no
            adjusted value is below that of Holm's method for all n tests.
    """
    n = len(p_values) if n is None else n
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, number in enumerate(order):
        largest = max(largest, min(1.0, (n - place) * p_values[number]))
        adjusted[number] = largest
    return adjusted


@dataclass(frozen=True)
class RunPredictions:
    """Predictions of a run for the images of a split.

    Attributes:
        name: Name of the run.
        images: The images.
        predictions: Predicted classes of each image.
        confidences: Probability of the predicted class of each image, or of the least certain decision, (n,).
    """

    name: str
    images: Sequence[ImageRecord]
    predictions: Sequence[tuple[str, ...]]
    confidences: NDArray[np.float64]


@dataclass(frozen=True)
class Disagreement:
    """An image for which runs predict different classes: those predicted by each run, with their confidences."""

    image: ImageRecord
    predictions: tuple[tuple[str, ...], ...]
    confidences: tuple[float, ...]

    def is_correct(self, place: int) -> bool:
        """Return whether the prediction of the run at a place is right."""
        return set(self.predictions[place]) == set(self.image.labels)

    def to_dict(self) -> dict[str, Any]:
        """Return the image for JSON."""
        found = zip(self.predictions, self.confidences, strict=True)
        return {
            "path": self.image.file,
            "labels": list(self.image.labels),
            "predictions": [{"labels": list(labels), "confidence": confidence} for labels, confidence in found],
        }


@dataclass(frozen=True)
class Agreement:
    """Several runs on the images that they share.

    Attributes:
        split: Split of the images.
        names: Names of the runs.
        n: Number of different images that all of them evaluate, with the same labels.
        n_left_out: Number of images that only some of them evaluate, or with other labels.
        n_correct: Number of images that each run classifies correctly.
        tests: Comparison of each pair.
        disagreements: Images with different predictions, the most confident disagreements first.
    """

    split: str
    names: tuple[str, ...]
    n: int
    n_left_out: int
    n_correct: tuple[int, ...]
    tests: tuple[PairedTest, ...]
    disagreements: tuple[Disagreement, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        return {**vars(self), "tests": [test.to_dict() for test in self.tests]}


def compare_predictions(split: str, runs: Sequence[RunPredictions]) -> Agreement:
    """Compare runs on the images of a split that all of them evaluate; images are the same if their bytes are."""
    shared = shared_images([run.images for run in runs])
    places = [{image.digest: place for place, image in enumerate(run.images)} for run in runs]
    at = [[place[image.digest] for image in shared] for place in places]
    predictions = [[run.predictions[place] for place in one] for run, one in zip(runs, at, strict=True)]
    confidences = [run.confidences[one] for run, one in zip(runs, at, strict=True)]
    truth = [set(image.labels) for image in shared]
    correct = {
        run.name: np.array([set(one) == labels for one, labels in zip(found, truth, strict=True)], bool)
        for run, found in zip(runs, predictions, strict=True)
    }
    rows = zip(shared, zip(*predictions, strict=True), zip(*confidences, strict=True), strict=True)
    differing = [
        Disagreement(image, found, tuple(map(float, sure))) for image, found, sure in rows if len(set(found)) > 1
    ]
    n_images = len({image.digest for run in runs for image in run.images})
    return Agreement(
        split,
        tuple(correct),
        len(shared),
        n_images - len(shared),
        tuple(int(one.sum()) for one in correct.values()),
        compare_pairs(correct) if shared else (),
        tuple(sorted(differing, key=lambda one: -min(one.confidences))),
    )


def shared_images(runs: Sequence[Sequence[ImageRecord]]) -> list[ImageRecord]:
    """Return the images of the first run that all runs have, with the same labels; each image once."""
    counts = Counter((digest, labels) for run in runs for digest, labels in {(one.digest, one.labels) for one in run})
    first = {image.digest: image for image in runs[0]}
    return [image for image in first.values() if counts[image.digest, image.labels] == len(runs)]
