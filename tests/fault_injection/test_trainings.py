"""Training that is killed, stopped, damaged or starved of disk space."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICK = {"kill": 1, "signals": 1}
THOROUGH = {
    "kill": 20,
    "ten-kills": 2,
    "signals": 6,
    "crash-points": 2,
    "incomplete-state": 1,
    "backup-and-restore": 1,
    "failing-disk": 6,
    "one-run": 3,
    "one-cache": 3,
    "segments": 20,
}
"""Tries of the slow tier. `python -m tests.fault_injection` makes many more."""


def run_faults(tries: Mapping[str, int], folder: Path) -> dict[str, str]:
    """Run all tests in one process, which trains the undisturbed runs once, and return the printed result of each."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault_injection", *(f"{name}={count}" for name, count in tries.items())],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    print(done.stderr)
    return dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)


def failed(tries: Mapping[str, int], results: Mapping[str, str]) -> list[str]:
    """Return the names of the tests with failed tries."""
    return [name for name, count in tries.items() if not results.get(name, "").startswith(f"{count} / {count}")]


@pytest.mark.first
@pytest.mark.timeout(1200)  # half a minute on an idle machine
def test_a_few_tries_of_each_fault_pass(tmp_path: Path) -> None:
    """Runs that were killed or stopped end with the same result as undisturbed runs."""
    assert failed(QUICK, run_faults(QUICK, tmp_path)) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_tries_of_each_fault_pass(tmp_path: Path) -> None:
    """More tries pass, and the comparison detects an incomplete state."""
    assert failed(THOROUGH, run_faults(THOROUGH, tmp_path)) == []
