"""Multi-crop evaluation: average the predictions of a network for several crops of each image.

An image is decoded at 8/7 of the run's size with the run's `data.fit`, as 256 pixels for a network of 224: with `fit:
crop`, its shorter side is resized to that, and the centered square is used. The crops are the four corners and the
center and, for ten crops, their mirror images. A. Krizhevsky, I. Sutskever, G. Hinton, NeurIPS 2012, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.records import ImageRecord
from cnncli.features.decoded_images import map_decoded
from cnncli.images.decode import PixelSpec
from cnncli.inference.predictor import Predictor
from cnncli.inference.spec import PredictorSpec
from cnncli.terminal.console import Console

RATIO = 8 / 7
"""Size of the decoded images divided by that of the crops."""
SMALLEST = 1e-300
"""Lower bound of a probability whose logarithm is taken."""


def multi_crop_logits(
    predictor: Predictor, rows: Sequence[ImageRecord], crops: int, console: Console
) -> NDArray[np.float64]:
    """Return logits (n, units) of the mean outputs over 5 or 10 crops of each image. Nothing is cached.

    The outputs are probabilities or, if the head is linear, scores.

    Raises:
        DataError: All images that cannot be decoded or have changed since they were indexed.
    """
    spec = predictor.spec
    is_linear = spec.activation == "linear"
    outputs_of = predictor.logits_of_pixels if is_linear else predictor.probabilities
    larger = replace(spec.pixels, height=round(RATIO * spec.height), width=round(RATIO * spec.width))

    def mean_of_crops(_: Sequence[ImageRecord], pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        outputs = [outputs_of(crop) for crop in crops_of(pixels, spec.pixels, crops)]
        mean: NDArray[np.float64] = np.mean(outputs, axis=0, dtype=np.float64)
        return mean

    means = np.concatenate(map_decoded(mean_of_crops, rows, larger, console, f"evaluating {crops} crops"))
    return means if is_linear else _logits_of(means, spec)


def crops_of(pixels: NDArray[Any], size: PixelSpec, crops: int) -> list[NDArray[Any]]:
    """Return the 5 or 10 crops of images (n, height, width, channels): corners, center, then their mirror images."""
    down, across = pixels.shape[1] - size.height, pixels.shape[2] - size.width
    places = [(0, 0), (0, across), (down, 0), (down, across), (down // 2, across // 2)]
    found = [pixels[:, top : top + size.height, left : left + size.width] for top, left in places]
    mirrored = [crop[:, :, ::-1] for crop in found]
    return [np.ascontiguousarray(crop) for crop in [*found, *mirrored][:crops]]


def _logits_of(probabilities: NDArray[np.float64], spec: PredictorSpec) -> NDArray[np.float64]:
    """Return logits with the given class probabilities (n, classes)."""
    logarithms = np.log(np.maximum(probabilities, SMALLEST))
    if spec.activation != "sigmoid":
        return np.asarray(logarithms)
    if spec.units == 1 and not spec.is_multi_label:
        return np.asarray(logarithms[:, 1:] - logarithms[:, :1])
    return np.asarray(logarithms - np.log(np.maximum(1.0 - probabilities, SMALLEST)))
