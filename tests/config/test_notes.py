"""What is allowed and can hardly be meant is said."""

from __future__ import annotations

from pathlib import Path

from cnncli.config.notes import notes_of
from tests.drawing import tiny_config


def test_a_frozen_backbone_of_random_weights_is_worth_a_word() -> None:
    """Its features are noise; from scratch nothing is frozen, and there is nothing to say."""
    (note,) = notes_of(tiny_config(Path("unused")))

    assert note == (
        "stage head: backbone.weights is none, so its features are those of random weights that stay frozen. "
        "mode: from-scratch trains all of it."
    )
    assert notes_of(tiny_config(Path("unused"), mode="from-scratch")) == ()


def test_metrics_of_mixed_pictures_are_worth_a_word() -> None:
    """Where the best epoch or early stopping goes by them; validation knows no mixing."""
    training = {"best": {"monitor": "accuracy"}, "early_stopping": {"monitor": "loss"}, "reduce_on_plateau": {}}
    config = tiny_config(Path("unused"), mode="from-scratch", training=training, augmentation={"mixup": 0.2})

    assert notes_of(config) == (
        "training.best.monitor: accuracy is that of mixed pictures and labels; val_accuracy is not.",
        "early_stopping.monitor of stage scratch: loss is that of mixed pictures and labels; val_loss is not.",
    )
    assert notes_of(tiny_config(Path("unused"), mode="from-scratch", training=training)) == ()
