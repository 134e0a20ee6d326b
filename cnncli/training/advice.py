"""Advice to the user about a finished training."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from cnncli.config.modes import Stage
from cnncli.config.schema import Config
from cnncli.errors import Message
from cnncli.metrics.classification import Metrics
from cnncli.metrics.table import LAST, VALIDATION, is_better
from cnncli.terminal.formatting import decimal, percent
from cnncli.training.diagnosis import Diagnosis, diagnose
from cnncli.training.trainer import Outcome

ONGOING = ("still-improving", "too-short")
"""Verdicts on learning curves with which more epochs are suggested."""

log = logging.getLogger(__name__)


def advise(outcome: Outcome, config: Config, stages: tuple[Stage, ...]) -> Diagnosis:
    """Log and return what the history shows, and log what it suggests: another learning rate, or more epochs."""
    diagnosis = diagnose(outcome.history, config.data.labels.is_multi_label)
    text = f"Learning curves: {diagnosis.text}."
    log.info(Message("training-diagnosis", text, verdict=diagnosis.verdict, evidence=diagnosis.text))
    start, best = outcome.stages[0].start_val_loss, outcome.best
    loss = best.validation.get("loss")
    if start is not None and loss is not None and loss > start:
        key = "training.optimizer.learning_rate"
        text = f"No epoch improved on the initial validation loss of {start:.4g}. Try a lower {key}."
        log.warning(Message("training-not-better-than-start", text, key=key, received=loss, expected=start))
    elif diagnosis.verdict in ONGOING and _is_still_improving(outcome, config.training.best.monitor, stages[-1]):
        key = "training.epochs" if config.training.stages is None else f"the epochs of stage {stages[-1].name}"
        text = f"The last epoch is the best one. Raise {key}, or resume this run with training.epochs=N."
        log.info(Message("training-still-improving", text, key="training.epochs", epoch=best.epoch))
    return diagnosis


def _is_still_improving(outcome: Outcome, monitor: str, last: Stage) -> bool:
    """Return whether the last planned epoch is the best one, and better than the one before it."""
    rows = [row for row in outcome.history if row.stage == last.name]
    if monitor == LAST or len(rows) < max(2, last.epochs) or outcome.best.epoch != rows[-1].epoch:
        return False
    return is_better(monitor, rows[-1].metrics[monitor], rows[-2].metrics[monitor])


def compare_with_parent(before: Mapping[str, float], best_epoch: int, after: Metrics, monitor: str) -> None:
    """Log a comparison of a fine-tuned run with its parent on the validation images.

    They are compared by the monitored metric, or by the loss if that is a training metric. Best epoch 0 is the
    parent's.
    """
    accuracy, loss = before["accuracy"], before["loss"]
    facts = {"accuracy": after.top1, "parent_accuracy": accuracy, "loss": after.loss, "parent_loss": loss}
    text = (
        f"validation accuracy {percent(after.top1)} (parent {percent(accuracy)}), "
        f"loss {decimal(after.loss)} (parent {decimal(loss)})"
    )
    name = monitor.removeprefix(VALIDATION) if monitor.startswith(VALIDATION) else "loss"
    low, high = after.top1_ci95
    if best_epoch > 0 and (name not in before or is_better(name, after.values[name], before[name])):
        log.info(Message("training-compared-with-parent", f"Compared with the parent run: {text}", **facts))
        return
    text += ". A lower --learning-rate or a smaller --unfreeze may help."
    if best_epoch == 0:
        kept = f"No epoch improved on the parent run, so its weights are kept: {text}"
        log.warning(Message("training-parent-kept", kept, **facts))
    elif low <= accuracy <= high:
        log.warning(Message("training-no-better-than-parent", f"No better than the parent run: {text}", **facts))
    else:
        log.warning(Message("training-worse-than-parent", f"Worse than the parent run: {text}", **facts))
