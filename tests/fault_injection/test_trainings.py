"""Trainings that are killed, stopped, damaged and starved of disk: a few tries of each, every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(1200)  # two minutes where nothing else runs
ROOT = Path(__file__).resolve().parents[2]
TRIES = {
    "kill": 10,
    "ten-kills": 1,
    "signals": 6,
    "crash-points": 1,
    "lacking": 1,
    "backup-and-restore": 1,
    "failing-disk": 6,
    "one-run": 3,
    "one-store": 3,
    "segments": 20,
}


@pytest.fixture(scope="module")
def stood(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the script prints behind the name of each test, from one process for all of them."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault_injection", *(f"{name}={count}" for name, count in TRIES.items())],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path_factory.mktemp("torture"))},
    )
    print(done.stderr)
    return dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)


@pytest.mark.parametrize("name", TRIES)
def test_it_is_stood(stood: dict[str, str], name: str) -> None:
    """Each try, from the first seed on."""
    assert stood.get(name, "").startswith(f"{TRIES[name]} / {TRIES[name]}"), stood
