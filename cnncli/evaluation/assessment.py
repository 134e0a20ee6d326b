"""The evaluation of a split: every fact that a figure or a report shows."""

from __future__ import annotations

from dataclasses import dataclass

from cnncli.evaluation.predictions import PredictedImage
from cnncli.metrics.classification import Metrics
from cnncli.metrics.curves import ClassCurves


@dataclass(frozen=True)
class Assessment:
    """The evaluation of a split.

    Attributes:
        split: train, validation, test, or `OTHER_DATA`.
        metrics: Its metrics, with confusion matrix and reliability diagram.
        images: The prediction of each image.
        curves: ROC and precision-recall curves of the classes.
    """

    split: str
    metrics: Metrics
    images: tuple[PredictedImage, ...]
    curves: tuple[ClassCurves, ...]
