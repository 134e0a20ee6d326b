"""Configs generated and mutated: each is valid, or every line of its error says where and what."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.fault_injection import configs

COUNT = 200


def test_any_config_is_valid_or_explained(tmp_path: Path) -> None:
    """No other exception, no hang, and what is valid comes back from its own text as it was."""
    for number in range(COUNT):
        configs.once(tmp_path, np.random.default_rng(number))
