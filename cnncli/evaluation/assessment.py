"""The evaluation of a split: every fact that a figure or a report shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cnncli.evaluation.calibration import CoveragePoint
from cnncli.evaluation.predictions import PredictedImage
from cnncli.metrics.classification import Metrics, accuracy_interval
from cnncli.metrics.curves import ClassCurves
from cnncli.metrics.reliability import Reliability


@dataclass(frozen=True)
class Assessment:
    """The evaluation of a split.

    Attributes:
        split: train, validation, test, or `OTHER_DATA`.
        metrics: Its metrics, with confusion matrix and reliability diagram.
        images: The prediction of each image.
        curves: ROC and precision-recall curves of the classes.
        temperature: Temperature of the run, which divides the logits.
        calibrated: Scores of the probabilities at the temperature; None if the run has none.
        coverage: Accuracy over the fraction of answered images; empty if nothing measures doubt.
    """

    split: str
    metrics: Metrics
    images: tuple[PredictedImage, ...]
    curves: tuple[ClassCurves, ...]
    temperature: float = 1.0
    calibrated: Reliability | None = None
    coverage: tuple[CoveragePoint, ...] = ()

    @property
    def corrected(self) -> Reliability | None:
        """Scores of the probabilities at a temperature that changes them."""
        return self.calibrated if self.temperature != 1 else None

    @property
    def answers(self) -> Answers | None:
        """Numbers of answered and of right answers; None if the run always answers."""
        known = [one for one in self.images if one.unknown is not None]
        answered = [one for one in known if not one.unknown]
        right = sum(one.is_correct for one in answered)
        return Answers(len(known), len(answered), right / len(answered) if answered else 0.0) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Return what `evaluate --json` adds to the metrics."""
        names = ("log_loss", "brier_score", "calibration_error")
        scores = {name: getattr(self.calibrated, name) for name in names} if self.calibrated else None
        curve = [asdict(point) for point in self.coverage]
        return {
            **({"calibration": {"temperature": self.temperature, **scores}} if scores else {}),
            **({"answers": {**asdict(self.answers), "curve": curve}} if self.answers else {}),
        }


@dataclass(frozen=True)
class Answers:
    """Of `n` images, the number that are answered, and the accuracy of these answers; the others are `unknown`."""

    n: int
    answered: int
    accuracy: float

    @property
    def accuracy_ci95(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy; of all fractions if nothing is answered."""
        if not self.answered:
            return 0.0, 1.0
        return accuracy_interval(self.accuracy, self.answered)
