"""Faults in a folder of images are told before training, each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fault_injection import planted


@pytest.mark.parametrize("number", range(len(planted.FAULTS)), ids=list(planted.FAULTS))
def test_every_planted_fault_is_told_before_training(number: int, tmp_path: Path) -> None:
    """By `train` and by `data check`, with the names of the files or classes; a clean folder is told of nothing."""
    (tmp_path / str(number)).mkdir()
    planted.once(tmp_path / str(number), np.random.default_rng(number))


def test_the_torture_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that nobody tells of is one that was not stood."""
    (tmp_path / "0").mkdir()
    monkeypatch.setattr(planted, "FAULTS", {"nothing": lambda tree: ("a fault",)})
    with pytest.raises(AssertionError, match="nothing was said"):
        planted.once(tmp_path / "0", np.random.default_rng(0))
