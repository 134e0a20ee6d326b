"""Generated and mutated configs are valid, or each line of the error states where the problem is and what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fault_injection import configs


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_config_is_valid_or_explained(tmp_path: Path, count: int) -> None:
    """Every config is refused with a config error, or is valid and unchanged after it is written and read again."""
    for number in range(count):
        configs.once(tmp_path, np.random.default_rng(number))
