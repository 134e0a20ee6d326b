"""What is allowed and can hardly be meant is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncli.config.notes import notes_of, variable_notes
from tests.support.drawing import tiny_config


def test_a_frozen_backbone_of_random_weights_is_worth_a_word() -> None:
    """Its features are noise; from scratch nothing is frozen, and there is nothing to say."""
    (note,) = notes_of(tiny_config(Path("unused")))

    assert note == (
        "stage head: backbone.weights is none, so its features are those of random weights that stay frozen. "
        "mode: from-scratch trains all of it."
    )
    assert notes_of(tiny_config(Path("unused"), mode="from-scratch")) == ()


def test_metrics_of_mixed_images_are_worth_a_word() -> None:
    """Where the best epoch or early stopping goes by them; validation knows no mixing."""
    training = {"best": {"monitor": "accuracy"}, "early_stopping": {"monitor": "loss"}, "reduce_on_plateau": {}}
    config = tiny_config(Path("unused"), mode="from-scratch", training=training, augmentation={"mixup": 0.2})

    assert notes_of(config) == (
        "training.best.monitor: accuracy is that of mixed images and labels; val_accuracy is not.",
        "early_stopping.monitor of stage scratch: loss is that of mixed images and labels; val_loss is not.",
    )
    assert notes_of(tiny_config(Path("unused"), mode="from-scratch", training=training)) == ()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CNNCLI_TRAINING_EPOCHS", "Did you mean CNNCLI_TRAINING__EPOCHS?"),
        ("CNNCLI_EPOCH", "Did you mean CNNCLI_TRAINING__EPOCHS?"),
        ("CNNCLI_TRAINING_OPTIMIZER_LEARNING_RATE", "Did you mean CNNCLI_TRAINING__OPTIMIZER__LEARNING_RATE?"),
        ("CNNCLI_CACHE_MAX_GB", "Did you mean CNNCLI_CACHE__MAX_GB?"),
        ("CNNCLI_TELEMETRY", "Two underscores stand for a dot, as in CNNCLI_TRAINING__EPOCHS."),
    ],
)
def test_a_variable_that_is_no_setting_is_worth_a_word(name: str, hint: str) -> None:
    """With the one that was meant, where that can be told."""
    sentence = f"environment {name}=1: is no setting and has no effect. {hint}"

    assert variable_notes({name: "1"}) == (sentence,)


def test_other_variables_are_not_worth_a_word() -> None:
    """Folders, settings, what another program reads, and what is empty."""
    ours = {"CNNCLI_CACHE": "x", "CNNCLI_RUNS": "y", "CNNCLI_SEED": "1", "CNNCLI_TRAINING__EPOCHS": "3"}

    assert variable_notes({**ours, "CNNCLI_EPOCH": "", "_CNNCLI_COMPLETE": "z", "EPOCHS": "1"}) == ()
