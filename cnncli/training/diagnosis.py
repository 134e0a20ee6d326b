"""Read the learning curves: overfitting, underfitting, still improving, unstable or fine, with the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cnncli.metrics.table import VALIDATION
from cnncli.runs.records import HistoryRow
from cnncli.terminal.formatting import counted, decimal, percent

MIN_EPOCHS = 3
"""Fewer epochs show no trend."""
MAX_GAP = 0.1
"""Difference between training and validation accuracy from which a network overfits."""
MAX_RISE = 1.1
"""Ratio of the last to the lowest validation loss above which it rises."""
MIN_FALL = 0.98
"""Ratio of the last loss to the lowest one before the last third of the epochs below which it still falls."""
JUMP, MAX_JUMPS = 1.25, 0.25
"""Ratio of the losses of two epochs that counts as a jump, and the fraction of epochs that may be jumps."""
MIN_JUMP = 0.05
"""Smallest jump, as a fraction of the range of the losses: those of a solved problem waver near zero."""
MAX_LOSS = 20
"""Training loss per image above which a network that classifies few images correctly has diverged: guessing at random
has the logarithm of the number of classes."""
LOW_ACCURACY = 0.85
"""Training accuracy below which a network that no longer improves underfits, and one with a high loss has diverged."""

Verdict = Literal["too-short", "unstable", "overfitting", "still-improving", "underfitting", "fine"]


@dataclass(frozen=True)
class Diagnosis:
    """A verdict on the epochs of the last stage of a run, and a sentence with the numbers that it rests on."""

    verdict: Verdict
    text: str


def diagnose(history: Sequence[HistoryRow], is_multi_label: bool = False) -> Diagnosis:
    """Return the verdict on the last stage of a history.

    It rests on rules of thumb; the losses are plain losses, but those of augmented training images and of a network
    with dropout are higher than those of validation. Without validation images, overfitting cannot be seen.
    """
    found = _verdict(history)
    if is_multi_label and "accuracy" in found.text:  # results have thresholds chosen on validation images
        return replace(found, text=f"{found.text} (accuracies at threshold 0.5)")
    return found


def _verdict(history: Sequence[HistoryRow]) -> Diagnosis:
    rows = [row for row in history if row.stage == history[-1].stage] if history else []
    if len(rows) < MIN_EPOCHS:
        return Diagnosis("too-short", f"too short: {counted(len(rows), 'epoch')} cannot show a trend")
    for check in (_unstable, _overfitting, _still_improving, _underfitting):
        if found := check(rows):
            return found
    text = f"fine: {_accuracies(rows[-1])} at the end, and the {_name(rows)} hardly falls"
    return Diagnosis("fine", text)


def _unstable(rows: Sequence[HistoryRow]) -> Diagnosis | None:
    losses, name = _losses(rows), _name(rows)
    smallest = MIN_JUMP * (max(losses) - min(losses))
    jumps = [
        row.epoch
        for row, before, loss in zip(rows[1:], losses, losses[1:], strict=False)
        if loss > JUMP * before and loss - before > smallest
    ]
    start, end = (row.metrics["loss"] for row in (rows[0], rows[-1]))
    if end > JUMP * start:
        numbers = f"the training loss rises from {decimal(start)} to {decimal(end)}"
    elif len(jumps) >= max(2, MAX_JUMPS * (len(rows) - 1)):
        numbers = f"the {name} jumps up by more than {JUMP - 1:.0%} in epochs {', '.join(map(str, jumps))}"
    elif end > MAX_LOSS and rows[-1].metrics["accuracy"] < LOW_ACCURACY:
        numbers = f"the training loss is {decimal(end)} at the end, as after a divergence"
    else:
        return None
    return Diagnosis("unstable", f"unstable: {numbers}; a lower learning rate or larger batches help")


def _overfitting(rows: Sequence[HistoryRow]) -> Diagnosis | None:
    if not rows[-1].validation:
        return None
    last, best = rows[-1], min(rows, key=lambda row: row.metrics[VALIDATION + "loss"])
    low, high = (row.metrics[VALIDATION + "loss"] for row in (best, last))
    if last.epoch - best.epoch >= 2 and high > MAX_RISE * low and last.metrics["loss"] < best.metrics["loss"]:
        numbers = (
            f"after epoch {best.epoch} the validation loss rises from {decimal(low)} to {decimal(high)}, while the "
            f"training loss falls from {decimal(best.metrics['loss'])} to {decimal(last.metrics['loss'])}"
        )
    elif last.metrics["accuracy"] - last.metrics[VALIDATION + "accuracy"] >= MAX_GAP:
        numbers = f"{_accuracies(last)} in epoch {last.epoch}"
    else:
        return None
    return Diagnosis("overfitting", f"overfitting: {numbers}; more images, augmentation, dropout or training.l2 help")


def _still_improving(rows: Sequence[HistoryRow]) -> Diagnosis | None:
    losses, training = _losses(rows), [row.metrics["loss"] for row in rows]
    n_before = max(1, len(rows) - max(1, len(rows) // 3))
    if losses[-1] != min(losses):
        return None
    for name, values in ((_name(rows), losses), ("training loss", training)):
        if values[-1] <= MIN_FALL * (before := min(values[:n_before])):
            numbers = f"the {name} fell from {decimal(before)} to {decimal(values[-1])}"
            n_last = len(rows) - n_before
            when = "epoch" if n_last == 1 else f"{n_last} epochs"
            advice = (
                "more epochs help" if rows[-1].validation else "only validation images show whether to train longer"
            )
            return Diagnosis("still-improving", f"still improving: {numbers} in the last {when}; {advice}")
    return None


def _underfitting(rows: Sequence[HistoryRow]) -> Diagnosis | None:
    if (accuracy := max(row.metrics["accuracy"] for row in rows)) >= LOW_ACCURACY:
        return None
    text = f"underfitting: the training accuracy stays at {percent(accuracy)}, and the {_name(rows)} hardly falls"
    return Diagnosis("underfitting", f"{text}; more trained layers, a larger network or another learning rate help")


def _losses(rows: Sequence[HistoryRow]) -> list[float]:
    """Return the validation losses, or the training losses if there is no validation."""
    prefix = VALIDATION if rows[-1].validation else ""
    return [row.metrics[f"{prefix}loss"] for row in rows]


def _name(rows: Sequence[HistoryRow]) -> str:
    return "validation loss" if rows[-1].validation else "training loss"


def _accuracies(row: HistoryRow) -> str:
    training = f"training accuracy {percent(row.metrics['accuracy'])}"
    if not row.validation:
        return f"{training} (no validation images)"
    return f"{training}, validation accuracy {percent(row.metrics[VALIDATION + 'accuracy'])}"
