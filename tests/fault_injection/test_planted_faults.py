"""Every fault planted in a folder of images is reported before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fault_injection import planted_faults


@pytest.mark.parametrize("number", range(len(planted_faults.FAULTS)), ids=list(planted_faults.FAULTS))
def test_every_planted_fault_is_reported_before_training(number: int, tmp_path: Path) -> None:
    """`train` and `data check` name the files or classes of the fault, and report nothing about a clean folder."""
    (tmp_path / str(number)).mkdir()
    planted_faults.once(tmp_path / str(number), np.random.default_rng(number))


def test_the_harness_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that is not reported fails the test."""
    (tmp_path / "0").mkdir()
    monkeypatch.setattr(planted_faults, "FAULTS", {"nothing": lambda tree: ("a fault",)})
    with pytest.raises(AssertionError, match="no report"):
        planted_faults.once(tmp_path / "0", np.random.default_rng(0))
