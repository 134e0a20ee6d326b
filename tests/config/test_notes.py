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
