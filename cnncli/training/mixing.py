"""MixUp and CutMix: mix each image of a batch with another one, and their labels in the same proportion.

MixUp (Zhang et al. 2017, arXiv 1710.09412) blends the inputs of the tail: pixels if nothing is frozen, otherwise the
features at the cut, which is manifold mixup (Verma et al. 2019, arXiv 1806.05236) at that one layer. CutMix (Yun et al.
2019, arXiv 1905.04899) pastes a rectangle of the other image, which requires pixels. If both are enabled, each batch
uses one of them with equal probability, as in timm.

Partners, ratios and rectangles are keyed by seed, stage, epoch and step. The loss of a mixed image is `ratio` times the
loss for its own label plus `1 - ratio` times that for its partner's, each with its class weight. This equals the loss
for the mixed label, because cross-entropy is linear in its targets. The reported loss and accuracy are mixed likewise.
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
from cnncli.training.inputs import Batch
from cnncli.training.objective import Measures, Objective


class MixedLabels(NamedTuple):
    """Labels of a batch and of the partners, and the proportion 0-1 of each image's own label."""

    own: Any
    partners: Any
    ratio: Any

    @property
    def dominant(self) -> Any:
        """The labels with the larger proportion."""
        return self.own if self.ratio >= 0.5 else self.partners


MixedBatch = tuple[list[Array], MixedLabels]


@dataclass(frozen=True)
class Mix:
    """Row of each image's partner (n,), proportion 0-1 of the image itself, and the rectangle that is pasted."""

    partners: NDArray[np.int64]
    ratio: np.float32
    box: tuple[slice, slice] | None = None


@dataclass(frozen=True)
class Mixing:
    """The mixing of a run: alphas of the Beta(alpha, alpha) distributions of ratios, 0 for none, and the run's seed."""

    mixup: float
    cutmix: float
    seed: int

    @classmethod
    def from_config(cls, settings: AugmentationConfig, seed: int) -> Mixing | None:
        """Return the mixing of a config, or None if it has none."""
        return cls(settings.mixup, settings.cutmix, seed) if settings.mixes else None

    def describe(self, on_features: bool) -> str:
        """Describe the mixing, such as `MixUp 0.2 and CutMix 1 of pixels`."""
        names = [f"{name} {alpha:g}" for name, alpha in (("MixUp", self.mixup), ("CutMix", self.cutmix)) if alpha]
        return f"{' and '.join(names)} of {'features' if on_features else 'pixels'}"

    def epoch(self, batches: Iterable[Batch], stage: str, epoch: int, done: int = 0) -> Iterator[MixedBatch]:
        """Mix the batches of an epoch (counted from 1 within the stage), the first `done` of which were skipped."""
        for step, (inputs, labels) in enumerate(batches, start=1 + done):
            mix = self.draw(len(labels), inputs[0].shape[1:3], stage, epoch, step)
            yield mix_inputs(inputs, mix), MixedLabels(labels, labels[mix.partners], mix.ratio)

    def draw(self, images: int, size: tuple[int, ...], stage: str, epoch: int, step: int) -> Mix:
        """Draw the mix for the batch of a step (counted from 1 within the epoch).

        A single image is its own partner, which changes nothing. `size` is height and width of the inputs, for CutMix.
        """
        random = generator("mixing", self.seed, stage, epoch, step)
        is_cutmix = bool(self.cutmix) and (not self.mixup or random.random() < 0.5)
        alpha = self.cutmix if is_cutmix else self.mixup
        ratio = random.beta(alpha, alpha)
        center = random.random(2).tolist()
        partners = np.argsort(random.random(images), kind="stable")
        if images == 1:
            return Mix(partners, np.float32(1.0))
        if not is_cutmix:
            return Mix(partners, np.float32(ratio))
        rows, columns = (_span(at, length, 1.0 - ratio) for at, length in zip(center, size, strict=True))
        pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
        return Mix(partners, np.float32(1.0 - pasted / (size[0] * size[1])), (rows, columns))


def mix_inputs(inputs: list[Array], mix: Mix) -> list[Array]:
    """Return copies of a batch's tensors (n, …), mixed along their first axis."""
    if mix.box is None:
        return [_blend(array, mix) for array in inputs]
    rows, columns = mix.box
    mixed = [array.copy() for array in inputs]
    for array, original in zip(mixed, inputs, strict=True):
        array[:, rows, columns] = original[mix.partners, rows, columns]
    return mixed


class MixedObjective(Objective):
    """An objective for mixed labels. With a ratio of 1 it equals the plain one for the images' own labels exactly."""

    def signature(self) -> Any:
        """Return the type of `MixedLabels` for TensorFlow."""
        import tensorflow as tf

        labels = super().signature()
        return MixedLabels(labels, labels, tf.TensorSpec((), tf.float32))

    def measure(self, logits: Any, labels: Any) -> Measures:
        """Return the weighted mean of the measures for both labels, in a form that is exact if the ratio is 1."""
        own, partners = super().measure(logits, labels.own), super().measure(logits, labels.partners)
        weight = 1.0 - labels.ratio
        return Measures(*(first + weight * (second - first) for first, second in zip(own, partners, strict=True)))


def _blend(array: Array, mix: Mix) -> Array:
    """Return x + (1 − ratio) · (partner − x), float32: exactly x if the ratio is 1 or x is its own partner."""
    own = array.astype(np.float32, copy=False)
    blend = own[mix.partners]
    blend -= own
    blend *= np.float32(1.0) - mix.ratio
    blend += own
    return blend


def _span(center: float, length: int, area: float) -> slice:
    """Return one side of CutMix's rectangle: sqrt(area) of the length, around a center, clipped at the edges."""
    side, middle = int(length * np.sqrt(area)), int(length * center)
    first = middle - side // 2
    return slice(max(first, 0), min(first + side, length))
