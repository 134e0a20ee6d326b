"""The best settings of a sweep and the others on the same images: is the lead more than chance?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.records import NamedImages
from cnncli.evaluation.agreement import SIGNIFICANT, holm, mcnemar_p
from cnncli.evaluation.predictions import PredictedImage

TESTS = "(exact McNemar tests, Holm's adjustment)"


@dataclass(frozen=True)
class ImageResults:
    """Whether a classifier is right on each of n images.

    Attributes:
        images: The images.
        right: Bool (n,).
    """

    images: NamedImages
    right: NDArray[np.bool_]

    @classmethod
    def of_predictions(cls, images: Sequence[PredictedImage]) -> Self:
        """Return the results of predicted images."""
        return cls(tuple((one.path, one.labels) for one in images), np.array([one.is_correct for one in images], bool))

    @classmethod
    def of_mistakes(cls, images: NamedImages, wrong: Sequence[int]) -> Self:
        """Return the results of a classifier that is wrong on the images at some places."""
        right = np.ones(len(images), bool)
        right[list(wrong)] = False
        return cls(images, right)

    def on(self, images: NamedImages) -> NDArray[np.bool_]:
        """Return the results for some of the images, in their order."""
        if images is self.images or images == self.images:
            return self.right
        places = {image: place for place, image in enumerate(self.images)}
        return self.right[[places[image] for image in images]]


@dataclass(frozen=True)
class Lead:
    """The best settings of a sweep against each of the others, by right and wrong predictions.

    Attributes:
        n_images: Number of images, which all settings share.
        n_others: Number of other settings.
        n_better_than: Number of those that the best settings are better than, by more than chance.
        n_undecided: Number of those for which the results do not show which is better.
        undecided: Names of their runs.
    """

    n_images: int
    n_others: int
    n_better_than: int
    n_undecided: int
    undecided: tuple[str, ...]

    @property
    def text(self) -> str:
        """The comparison in one sentence."""
        images = f"these {self.n_images:,} validation images"
        if self.n_undecided:
            which = f"{self.n_undecided} of {self.n_others} others"
            return f"The accuracies on {images} do not show whether these settings are better than {which} {TESTS}."
        which = f"{self.n_better_than} of {self.n_others} others"
        return f"On {images}, these settings are more accurate than {which} by more than chance {TESTS}."

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        return asdict(self)


def measure_lead(best: Sequence[ImageResults], others: Sequence[Mapping[str, ImageResults]]) -> Lead | None:
    """Compare the runs of the best settings, one per seed, with those of each of the others, by name.

    The images that the best settings classify correctly with more of their seeds are counted against those that the
    others do: an exact sign test, with one seed the exact McNemar test. The p-values are adjusted for the number of
    settings by Holm's method.

    Returns:
        The comparison; None if there are no other settings, or no images that all of them share.
    """
    runs = [*best, *(run for other in others for run in other.values())]
    images = runs[0].images
    if any(run.images is not images and run.images != images for run in runs):
        shared = set(images).intersection(*(run.images for run in runs))
        images = tuple(image for image in images if image in shared)
    if not others or not images:
        return None
    of_best = _count_right(best, images)
    counts = [_compare(of_best, len(best), list(other.values()), images) for other in others]
    p_values = holm([mcnemar_p(*pair) for pair in counts])
    undecided = [other for other, p in zip(others, p_values, strict=True) if p >= SIGNIFICANT]
    n_better_than = sum(p < SIGNIFICANT and n > m for p, (n, m) in zip(p_values, counts, strict=True))
    names = tuple(name for other in undecided for name in other)
    return Lead(len(images), len(others), n_better_than, len(undecided), names)


def _count_right(runs: Sequence[ImageResults], images: NamedImages) -> NDArray[np.int64]:
    """Return the number of runs that are right on each image."""
    return np.asarray(sum(run.on(images).astype(np.int64) for run in runs))


def _compare(
    of_best: NDArray[np.int64], n_best: int, other: Sequence[ImageResults], images: NamedImages
) -> tuple[int, int]:
    """Return the numbers of images that a larger fraction of the best runs, or of the other ones, gets right."""
    difference = of_best * len(other) - _count_right(other, images) * n_best  # integers: equal fractions are equal
    return int((difference > 0).sum()), int((difference < 0).sum())
