"""Trainings that are killed, stopped, damaged and starved of disk: a few tries of each fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(1200)  # two minutes on an idle machine
ROOT = Path(__file__).resolve().parents[2]
TRIES = {
    "kill": 10,
    "ten-kills": 1,
    "signals": 6,
    "crash-points": 1,
    "incomplete-state": 1,
    "backup-and-restore": 1,
    "failing-disk": 6,
    "one-run": 3,
    "one-cache": 3,
    "segments": 20,
}


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run all tests in one process, and return the printed result of each."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault_injection", *(f"{name}={count}" for name, count in TRIES.items())],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path_factory.mktemp("faults"))},
    )
    print(done.stderr)
    return dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)


@pytest.mark.parametrize("name", TRIES)
def test_every_try_passes(summary: dict[str, str], name: str) -> None:
    """All tries pass, counted from the first seed."""
    assert summary.get(name, "").startswith(f"{TRIES[name]} / {TRIES[name]}"), summary
