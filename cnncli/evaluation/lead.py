"""The chosen settings of a sweep and the others on the same images: is the difference more than chance?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.records import NamedImages
from cnncli.evaluation.agreement import SIGNIFICANT, holm, mcnemar_p
from cnncli.evaluation.predictions import PredictedImage

TESTS = "(exact McNemar tests, adjusted for the choice)"


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
    """The chosen settings of a sweep against each of the others, by right and wrong predictions.

    Attributes:
        n_images: Number of images, which all settings share.
        n_others: Number of other settings.
        n_better_than: Number of other settings that are significantly less accurate than the chosen ones.
        n_worse_than: Number of other settings that are significantly more accurate, which is possible if the choice is
            by another metric.
        n_undecided: Number of other settings that are not distinguishable from the chosen ones.
        undecided: Names of their runs.
    """

    n_images: int
    n_others: int
    n_better_than: int
    n_worse_than: int
    n_undecided: int
    undecided: tuple[str, ...]

    @property
    def text(self) -> str:
        """The comparison in one line."""
        where, of_others = f"on {self.n_images:,} validation images", f"of {self.n_others:,} other settings"
        if self.n_worse_than:
            text = f"Significantly more accurate than the chosen settings {where}: {self.n_worse_than:,} {of_others}"
            return f"{text}; not distinguishable: {self.n_undecided:,} {TESTS}"
        if self.n_undecided:
            return f"Not distinguishable from the best {where}: {self.n_undecided:,} {of_others} {TESTS}"
        return f"Significantly less accurate than the best {where}: {self.n_better_than:,} {of_others} {TESTS}"

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        return asdict(self)


def measure_lead(chosen: Sequence[ImageResults], others: Sequence[Mapping[str, ImageResults]]) -> Lead | None:
    """Compare the runs of the chosen settings, one per seed, with those of each of the others, by name.

    The images that the chosen settings classify correctly with more of their seeds are counted against those that the
    others do: an exact sign test, with one seed the exact McNemar test.

    The settings were chosen on the same images, and the best of many is partly lucky. With other luck, any pair of the
    k settings could have been compared, so the p-values are adjusted by Holm's method for all k(k - 1)/2 pairs. If all
    settings are equally good, at most 5 % of sweeps find a difference, whichever are chosen.

    Returns:
        The comparison; None if there are no other settings, or no images that all of them share.
    """
    runs = [*chosen, *(run for other in others for run in other.values())]
    images = runs[0].images
    if any(run.images is not images and run.images != images for run in runs):
        shared = set(images).intersection(*(run.images for run in runs))
        images = tuple(image for image in images if image in shared)
    if not others or not images:
        return None
    of_chosen = _count_right(chosen, images)
    counts = [_compare(of_chosen, len(chosen), list(other.values()), images) for other in others]
    p_values = holm([mcnemar_p(*pair) for pair in counts], n=math.comb(len(others) + 1, 2))
    undecided = [other for other, p in zip(others, p_values, strict=True) if p >= SIGNIFICANT]
    decided = [pair for pair, p in zip(counts, p_values, strict=True) if p < SIGNIFICANT]
    n_better_than = sum(only_chosen > only_other for only_chosen, only_other in decided)
    names = tuple(name for other in undecided for name in other)
    return Lead(len(images), len(others), n_better_than, len(decided) - n_better_than, len(undecided), names)


def _count_right(runs: Sequence[ImageResults], images: NamedImages) -> NDArray[np.int64]:
    """Return the number of runs that are right on each image."""
    return np.asarray(sum(run.on(images).astype(np.int64) for run in runs))


def _compare(
    of_chosen: NDArray[np.int64], n_chosen: int, other: Sequence[ImageResults], images: NamedImages
) -> tuple[int, int]:
    """Return the numbers of images that a larger fraction of the chosen runs, or of the other ones, gets right."""
    difference = of_chosen * len(other) - _count_right(other, images) * n_chosen  # integers: equal fractions are equal
    return int((difference > 0).sum()), int((difference < 0).sum())
