"""A little of the torture, every time: the tests of `scripts/torture.py`, a few tries each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("name", TRIES)
def test_it_is_stood(name: str, tmp_path: Path) -> None:
    """Each try, from the first seed on."""
    command = [sys.executable, "scripts/torture.py", name, "--count", str(TRIES[name])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=_environment(tmp_path))

    assert done.returncode == 0, done.stderr
    assert re.search(rf"^{name}: {TRIES[name]} / {TRIES[name]}$", done.stdout, re.MULTILINE), done.stdout


def _environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(tmp_path)}
