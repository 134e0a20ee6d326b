"""What memory there is, and a bound that makes asking for more fail."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from cnncli.runtime.memory import available_bytes, bounded

MEMINFO = "MemTotal: 16000 kB\nMemAvailable:    8000 kB\nSwapFree:    1000 kB\nHugePages_Total:   0\n"


def test_a_container_has_what_its_limit_leaves(tmp_path: Path) -> None:
    """The pages of files that it holds can go, and count as free."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.stat").write_text("anon 2000000\nfile 2500000\n")

    assert available_bytes(tmp_path, tmp_path) == 3_000_000


def test_without_a_limit_the_machine_decides(tmp_path: Path) -> None:
    """With what it could swap out."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "memory.max").write_text("max\n")

    assert available_bytes(tmp_path, tmp_path) == 9000 * 1024
    assert available_bytes(tmp_path, tmp_path / "none") == 9000 * 1024


def test_what_is_swapped_out_can_be_left_out_of_it(tmp_path: Path) -> None:
    """A batch that has to be swapped takes a hundred times as long."""
    (tmp_path / "meminfo").write_text(MEMINFO)

    assert available_bytes(tmp_path, tmp_path, swap=False) == 8000 * 1024


def test_other_systems_do_not_tell(tmp_path: Path) -> None:
    """Nobody guesses."""
    assert available_bytes(tmp_path, tmp_path) is None


def test_beyond_the_bound_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the block alone."""
    monkeypatch.setattr("cnncli.runtime.memory.available_bytes", lambda **_: 200 * 2**20)
    with bounded():
        np.ones(2**20)
        with pytest.raises(MemoryError):
            np.ones(2**28)
    assert len(np.empty(2**28)) == 2**28


def test_a_lower_bound_of_somebody_else_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """And comes back as it was."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    monkeypatch.setattr("cnncli.runtime.memory.available_bytes", lambda **_: 2**50)
    resource.setrlimit(resource.RLIMIT_DATA, (2**40, before[1]))
    try:
        with bounded():
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] == 2**40
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == 2**40
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
