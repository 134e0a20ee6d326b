"""The prediction for one image: its classes, the most probable first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from cnncli.inference.predictor import Answer
from cnncli.inference.spec import PredictorSpec

DEFAULT_TOP = 5
"""Default number of classes per image, except for multi-label classifiers."""


@dataclass(frozen=True)
class Prediction:
    """Classes of an image with their probabilities (0-1), the most probable first.

    If the classifier is multi-label, these are by default the labels whose thresholds the probabilities reach.

    An image that was not given as a path is named `images[N]`.

    Attributes:
        confidence: Probability (0-1) of the first class, or of the least certain label, after calibration on the
            validation images; None if the run has none.
        unknown: Whether the image is too unlike the training images, or too uncertain, to be answered; None if the run
            always answers.
        reason: Why it is unknown: `unlike the training images`, `uncertain` or `below the minimum confidence`, that of
            `cnncli calibrate`; None if it is answered.
    """

    path: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    confidence: float | None = None
    unknown: bool | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of `predict --json`."""
        pairs = zip(self.labels, self.probabilities, strict=True)
        trust = {"confidence": self.confidence, "unknown": self.unknown, "reason": self.reason}
        return {
            "path": self.path,
            "predictions": [{"label": label, "probability": p} for label, p in pairs],
            **{name: value for name, value in trust.items() if value is not None},
        }

    @classmethod
    def of(cls, name: str, answer: Answer, spec: PredictorSpec, top: int | None = None) -> Self:
        """Return the first `top` classes of an answer, by default 5 or, if multi-label, those at their thresholds."""
        probabilities = answer.probabilities
        order = np.argsort(-probabilities, kind="stable")
        if top is None and spec.is_multi_label:
            order = order[(probabilities >= np.array(spec.thresholds))[order]]
        else:
            order = order[: top or DEFAULT_TOP]
        labels = tuple(spec.classes[n] for n in order)
        trust = (answer.confidence, answer.unknown, answer.reason)
        return cls(name, labels, tuple(probabilities[order].tolist()), *trust)
