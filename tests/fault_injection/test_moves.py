"""No image is lost if `data check --fix-splits` is killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fault_injection import moves


@pytest.mark.parametrize("number", range(3))
def test_no_image_is_lost_if_a_call_is_killed(number: int, tmp_path: Path) -> None:
    """The next call that is not killed completes the repair."""
    moves.once(tmp_path, np.random.default_rng(number))


@pytest.mark.parametrize("number", range(3))
def test_no_image_is_lost_by_two_calls_at_once(number: int, tmp_path: Path) -> None:
    """Each image is moved by exactly one of two concurrent calls."""
    moves.two_at_once(tmp_path, np.random.default_rng(number))


def test_the_harness_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A move that deletes an image is detected."""
    monkeypatch.setattr(moves, "carry_out", lambda planned: [one.source.unlink() for one in planned])
    with pytest.raises(AssertionError, match="images were lost"):
        moves.once(tmp_path, np.random.default_rng(0))
