"""MixUp and CutMix: every image of a batch is mixed with another one of it, and its label in the same proportion.

MixUp (Zhang et al. 2017, arXiv 1710.09412) blends what enters the tail: the pixels where nothing is frozen, else the
features at the cut, which is manifold mixup (Verma et al. 2019, arXiv 1806.05236) at that one place. CutMix (Yun et al.
2019, arXiv 1905.04899) pastes a rectangle of the other image, which only pixels allow. Where both are switched on,
each batch takes one of them with equal probability, as in timm.

Partners, shares and rectangles are keyed by seed, stage, epoch and step. A mixed image's loss is the share of its own
label times the loss for that label, plus the rest times the loss for its partner's. Cross-entropy is linear in its
targets, so that is the loss for the mixed labels; label smoothing smooths either label, and a class weight weighs the
loss for its own class. What is reported as loss and accuracy of the training images is mixed in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.engines.engine import Array
from cnncli.runtime.random_keys import generator
from cnncli.training.feed import Batch
from cnncli.training.objective import Objective


class MixedLabels(NamedTuple):
    """The labels of a mixed batch: class indexes int64 (n,), and the share 0-1 of the first, a float32 scalar."""

    own: Any
    partners: Any
    share: Any


MixedBatch = tuple[list[Array], MixedLabels]


@dataclass(frozen=True)
class Mix:
    """How one batch is mixed.

    Attributes:
        partners: for each image the row of the one that is mixed in, int64 (n,).
        share: of the image's own in the result, 0-1.
        box: rows and columns that are the partner's; None: the two are blended.
    """

    partners: NDArray[np.int64]
    share: np.float32
    box: tuple[slice, slice] | None = None


@dataclass(frozen=True)
class Mixing:
    """The mixing of a run.

    Attributes:
        mixup: alpha of the Beta(alpha, alpha) that shares are drawn from; 0: no MixUp.
        cutmix: the same of CutMix.
        seed: the run's.
    """

    mixup: float
    cutmix: float
    seed: int

    @classmethod
    def of(cls, settings: AugmentationConfig, seed: int) -> Mixing | None:
        """The mixing that the settings ask for, None where they ask for none."""
        return cls(settings.mixup, settings.cutmix, seed) if settings.mixes else None

    def in_words(self, on_features: bool) -> str:
        """What is mixed, for the line before a stage.

        >>> Mixing(mixup=0.2, cutmix=1.0, seed=0).in_words(on_features=False)
        'MixUp 0.2 and CutMix 1 of pixels'
        """
        names = [f"{name} {alpha:g}" for name, alpha in (("MixUp", self.mixup), ("CutMix", self.cutmix)) if alpha]
        return f"{' and '.join(names)} of {'features' if on_features else 'pixels'}"

    def epoch(self, batches: Iterable[Batch], stage: str, epoch: int, done: int = 0) -> Iterator[MixedBatch]:
        """The batches of an epoch (counted from 1 within the stage), mixed; `done` of them come no more."""
        for step, (inputs, labels) in enumerate(batches, start=1 + done):
            mix = self.draw(len(labels), inputs[0].shape[1:3], stage, epoch, step)
            yield mixed(inputs, mix), MixedLabels(labels, labels[mix.partners], mix.share)

    def draw(self, images: int, size: tuple[int, ...], stage: str, epoch: int, step: int) -> Mix:
        """How a step's batch is mixed; a single image is its own partner, which changes nothing.

        Args:
            images: in the batch.
            size: height and width of what CutMix pastes into.
            stage: its name.
            epoch: counted from 1 within the stage.
            step: counted from 1 within the epoch.
        """
        random = generator("mixing", self.seed, stage, epoch, step)
        is_cutmix = bool(self.cutmix) and (not self.mixup or random.random() < 0.5)
        alpha = self.cutmix if is_cutmix else self.mixup
        share = random.beta(alpha, alpha)
        centre = random.random(2).tolist()
        partners = np.argsort(random.random(images), kind="stable")
        if images == 1:
            return Mix(partners, np.float32(1.0))
        if not is_cutmix:
            return Mix(partners, np.float32(share))
        rows, columns = (_span(at, length, 1.0 - share) for at, length in zip(centre, size, strict=True))
        pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
        return Mix(partners, np.float32(1.0 - pasted / (size[0] * size[1])), (rows, columns))


def mixed(inputs: list[Array], mix: Mix) -> list[Array]:
    """A batch's tensors, each (n, …), mixed along their first axis; those handed in stay as they are."""
    return [_pasted(array, mix) if mix.box else _blended(array, mix) for array in inputs]


class MixedObjective(Objective):
    """An objective for mixed labels; where the share is 1, exactly the plain one for the images' own labels."""

    def signature(self) -> Any:
        """Of `MixedLabels`, for TensorFlow."""
        import tensorflow as tf

        labels = super().signature()
        return MixedLabels(labels, labels, tf.TensorSpec((), tf.float32))

    def of(self, logits: Any, labels: Any) -> Any:
        """See `Objective.of`."""
        return _shared(labels, super().of(logits, labels.own), super().of(logits, labels.partners))

    def plain(self, logits: Any, labels: Any) -> Any:
        """See `Objective.plain`."""
        return _shared(labels, super().plain(logits, labels.own), super().plain(logits, labels.partners))

    def correct(self, logits: Any, labels: Any) -> Any:
        """How many of a batch's images are classified right, float32: either label counts by its share."""
        import tensorflow as tf

        own, partners = super().correct(logits, labels.own), super().correct(logits, labels.partners)
        return _shared(labels, tf.cast(own, "float32"), tf.cast(partners, "float32"))


def _shared(labels: MixedLabels, own: Any, partners: Any) -> Any:
    """Both values by their shares, in a form that is exactly the first one where it has all of it."""
    return own + (1.0 - labels.share) * (partners - own)


def _blended(array: Array, mix: Mix) -> Array:
    """X + (1 − share) · (partner − x), float32: exactly x where the share is 1 or the partner is x itself."""
    own = array.astype(np.float32, copy=False)
    blend = own[mix.partners]
    blend -= own
    blend *= np.float32(1.0) - mix.share
    blend += own
    return blend


def _pasted(array: Array, mix: Mix) -> Array:
    """The partner's rectangle in the image, both (n, height, width, channels)."""
    if mix.box is None:
        return array
    rows, columns = mix.box
    result = array.copy()
    result[:, rows, columns] = array[mix.partners, rows, columns]
    return result


def _span(centre: float, length: int, area: float) -> slice:
    """One side of CutMix's rectangle: a square root of the area long about a centre, cut off at the edges."""
    side, middle = int(length * np.sqrt(area)), int(length * centre)
    first = middle - side // 2
    return slice(max(first, 0), min(first + side, length))
