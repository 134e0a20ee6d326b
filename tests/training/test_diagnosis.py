"""The learning curves in words: constructed histories, and one of a real training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cnncli.config.modes import stages_of
from cnncli.config.schema import Config
from cnncli.networks.classifier import build_classifier
from cnncli.runs.records import HistoryRow
from cnncli.training.advice import advise
from cnncli.training.diagnosis import diagnose
from cnncli.training.state import BestEpoch
from cnncli.training.trainer import Outcome
from tests.support.drawing import draw_dataset, tiny_config
from tests.training.contexts import context_for, train_in

FALLING = (0.7, 0.5, 0.35, 0.25, 0.15, 0.08, 0.04, 0.02)
FLAT = (0.7, 0.3, 0.12, 0.102, 0.101, 0.1, 0.1, 0.1)
SOLVED = (0.1, 0.01, 0.0013, 0.001, 0.0013, 0.001, 0.0013, 0.001)
FLATTER = (0.7, 0.3, 0.12, 0.102, 0.101, 0.1005, 0.1003, 0.1)


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
    pytest.param(_history(SOLVED, accuracy=1.0), "fine", "100.0 %", id="solved"),
    pytest.param(_history((1, 2, 4, 9), (1, 2, 4, 9), 0.5, 0.5), "unstable", "9", id="diverging"),
    pytest.param(_history((1e25, 2.6e23, 5532407.7), accuracy=0.1), "unstable", "5.53e+06", id="diverged and falling"),
    pytest.param(_history((900, 300, 90, 30), accuracy=0.97), "still-improving", "30.000", id="large scores"),
    pytest.param(_history(FLAT, FLAT), "fine", "95.0 %", id="fine"),
    pytest.param(_history(FALLING[:2], FALLING[:2]), "too-short", "2 epochs", id="two epochs"),
    pytest.param([], "too-short", "0 epochs", id="nothing"),
    pytest.param(_history(FALLING), "still-improving", "training loss", id="no validation: falling"),
    pytest.param(_history(FLAT), "fine", "no validation images", id="no validation: fine"),
]


def test_without_validation_more_epochs_are_not_advised() -> None:
    """A training loss that falls does not show whether more epochs help."""
    with_validation, without = diagnose(_history(FALLING, FALLING)), diagnose(_history(FALLING))

    assert "more epochs help" in with_validation.text
    assert "more epochs help" not in without.text


def test_the_threshold_of_multi_label_accuracies_is_named() -> None:
    """Accuracies of epochs are those at a threshold of 0.5, while final ones use thresholds from validation."""
    assert "threshold 0.5" in diagnose(_history(FLAT, FLAT), is_multi_label=True).text
    assert "threshold" not in diagnose(_history(FALLING, FALLING), is_multi_label=True).text


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


@pytest.fixture(scope="module")
def memorized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Config]:
    """Train a network from scratch on a few images with random labels."""
    tmp_path = tmp_path_factory.mktemp("memorized")
    data = draw_dataset(tmp_path / "data", train=6, validation=10, size=32)
    for number, path in enumerate(sorted((data / "validation").rglob("*.png"))):
        other = data / "validation" / ("dots" if "stripes" in path.name else "stripes") / f"swapped-{path.name}"
        if number % 2:
            path.rename(other)
    training = {"epochs": 15, "batch_size": 4, "early_stopping": None, "optimizer": {"learning_rate": 0.01}}
    config = tiny_config(data, mode="from-scratch", training=training)
    return train_in(context_for(config, tmp_path / "store"), build_classifier(config, 2), tmp_path / "run"), config


def test_a_real_training_that_memorizes_random_labels_overfits(memorized: tuple[Outcome, Config]) -> None:
    """The diagnosis of a network that memorizes a few images is overfitting."""
    outcome, _ = memorized

    assert diagnose(outcome.history).verdict == "overfitting"


def test_more_epochs_are_suggested_only_if_the_curves_still_improve(
    memorized: tuple[Outcome, Config], caplog: pytest.LogCaptureFixture
) -> None:
    """If the last epoch is the best one, more epochs are suggested unless the curves hardly fall anymore."""
    outcome, config = memorized
    stage = replace(stages_of(config)[-1], name="all", epochs=len(FALLING))
    suggested = {}
    for verdict, losses in (("fine", FLATTER), ("still-improving", FALLING)):
        caplog.clear()
        history = tuple(_history(losses, losses))
        best = BestEpoch(len(history), losses[-1], {"loss": 0.0})
        with caplog.at_level("INFO", logger="cnncli"):
            assert advise(replace(outcome, best=best, history=history), config, (stage,)).verdict == verdict
        suggested[verdict] = any(getattr(one.msg, "code", "") == "training-still-improving" for one in caplog.records)

    assert suggested == {"fine": False, "still-improving": True}
