"""The learning curves in words: constructed histories, and one of a real training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cnncli.networks.classifier import build_classifier
from cnncli.runs.records import HistoryRow
from cnncli.training.diagnosis import diagnose
from tests.support.drawing import draw_dataset, tiny_config
from tests.training.contexts import context_for, train_in

FALLING = (0.7, 0.5, 0.35, 0.25, 0.15, 0.08, 0.04, 0.02)
FLAT = (0.7, 0.3, 0.12, 0.102, 0.101, 0.1, 0.1, 0.1)


def _history(
    losses: Sequence[float], val_losses: Sequence[float] = (), accuracy: float = 0.97, val_accuracy: float = 0.95
) -> list[HistoryRow]:
    rows = []
    for number, loss in enumerate(losses):
        validation = {"val_loss": val_losses[number], "val_accuracy": val_accuracy} if val_losses else {}
        metrics = {"loss": loss, "accuracy": accuracy, **validation}
        rows.append(HistoryRow("all", number + 1, 1e-3, metrics, 1.0, 1.0))
    return rows


CASES = [
    pytest.param(_history(FALLING, (0.7, 0.5, 0.4, 0.35, 0.4, 0.48, 0.6, 0.7)), "overfitting", "epoch 4", id="rise"),
    pytest.param(_history(FLAT, FLAT, 0.99, 0.8), "overfitting", "80.0 %", id="gap"),
    pytest.param(_history(FALLING, FALLING), "still-improving", "to 0.020 in", id="falling"),
    pytest.param(_history(FLAT, [loss + 0.55 for loss in FLAT], 0.6, 0.58), "underfitting", "60.0 %", id="flat"),
    pytest.param(_history(FALLING, (0.7, 0.4, 0.9, 0.3, 0.8, 0.3, 0.9, 0.3)), "unstable", "3, 5, 7", id="jumps"),
    pytest.param(_history((1, 2, 4, 9), (1, 2, 4, 9), 0.5, 0.5), "unstable", "9", id="diverging"),
    pytest.param(_history(FLAT, FLAT), "fine", "95.0 %", id="fine"),
    pytest.param(_history(FALLING[:2], FALLING[:2]), "too-short", "2 epochs", id="two epochs"),
    pytest.param([], "too-short", "0 epochs", id="nothing"),
    pytest.param(_history(FALLING), "still-improving", "training loss", id="no validation: falling"),
    pytest.param(_history(FLAT), "fine", "no validation images", id="no validation: fine"),
]


@pytest.mark.parametrize(("history", "verdict", "evidence"), CASES)
def test_curves_are_read_with_their_evidence(history: list[HistoryRow], verdict: str, evidence: str) -> None:
    """Each shape of the curves has its verdict, and the text contains the numbers that it rests on. Row 130."""
    found = diagnose(history)

    assert found.verdict == verdict
    assert evidence in found.text


def test_only_the_last_stage_counts() -> None:
    """A jump between two stages is not instability."""
    head = [HistoryRow("head", row.epoch, 1e-3, row.metrics, 1.0, 1.0) for row in _history(FLAT, FLAT)]

    assert diagnose([*head, *_history(FALLING, FALLING)]).verdict == "still-improving"


def test_a_real_training_that_memorizes_random_labels_overfits(tmp_path: Path) -> None:
    """A network that learns a few images by heart is told to overfit."""
    data = draw_dataset(tmp_path / "data", train=6, validation=10, size=32)
    for number, path in enumerate(sorted((data / "validation").rglob("*.png"))):
        other = data / "validation" / ("dots" if "stripes" in path.name else "stripes") / f"swapped-{path.name}"
        if number % 2:
            path.rename(other)
    training = {"epochs": 15, "batch_size": 4, "early_stopping": None, "optimizer": {"learning_rate": 0.01}}
    config = tiny_config(data, mode="from-scratch", training=training)
    outcome = train_in(context_for(config, tmp_path / "store"), build_classifier(config, 2), tmp_path / "run")

    assert diagnose(outcome.history).verdict == "overfitting"
