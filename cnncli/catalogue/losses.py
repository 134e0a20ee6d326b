"""Losses that a config can name: those of cnncli, and those of Keras 3.15. Does not import TensorFlow.

Omitted are CTC, for sequences, and Circle, for embeddings. Keras's Hinge is called `keras.losses.Hinge`, because
`hinge` is the multiclass loss. A test compares the rest with Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LossInfo:
    """Facts about a loss.

    Attributes:
        class_name: Name in keras.losses; None for losses of cnncli.
        needs_scores_of_classes: Whether it compares the scores of classes, so that the head cannot be sigmoid.
        is_of_scores: Whether it is a loss of scores, so that the head is linear by default.
        can_smooth: Whether label smoothing has a meaning.
        takes_indices: Whether Keras's class takes class indices.
        needs_probabilities: Whether it is not defined for outputs below 0, so that the head cannot be linear.
    """

    class_name: str | None = None
    needs_scores_of_classes: bool = False
    is_of_scores: bool = False
    can_smooth: bool = False
    takes_indices: bool = False
    needs_probabilities: bool = False


_LOGARITHMIC = ("Poisson", "KLDivergence", "MeanSquaredLogarithmicError")
_OTHERS = (
    *("MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError"),
    *("CosineSimilarity", "Huber", "LogCosh", "Dice", "Tversky"),
)

CROSS_ENTROPY = "cross-entropy"
LOSSES: Mapping[str, LossInfo] = {
    CROSS_ENTROPY: LossInfo(can_smooth=True),
    "hinge": LossInfo(needs_scores_of_classes=True, is_of_scores=True),
    "squared-error": LossInfo(),
    "focal": LossInfo(can_smooth=True),
    **{name: LossInfo(name, can_smooth=True) for name in ("BinaryCrossentropy", "BinaryFocalCrossentropy")},
    **{
        name: LossInfo(name, True, can_smooth=True)
        for name in ("CategoricalCrossentropy", "CategoricalFocalCrossentropy")
    },
    "SparseCategoricalCrossentropy": LossInfo("SparseCategoricalCrossentropy", True, takes_indices=True),
    "CategoricalGeneralizedCrossEntropy": LossInfo(
        "CategoricalGeneralizedCrossEntropy", True, takes_indices=True, needs_probabilities=True
    ),
    **{name: LossInfo(name, needs_probabilities=True) for name in _LOGARITHMIC},
    "CategoricalHinge": LossInfo("CategoricalHinge", needs_scores_of_classes=True, is_of_scores=True),
    "SquaredHinge": LossInfo("SquaredHinge", is_of_scores=True),
    "keras.losses.Hinge": LossInfo("Hinge", is_of_scores=True),
    **{name: LossInfo(name) for name in _OTHERS},
}
"""Losses by name."""
