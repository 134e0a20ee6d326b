"""Helpers for the tests of the feature cache: small features, and other processes that use the cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from cnncli.features.store import FeatureKey

KEY = FeatureKey({"trunk": "t", "view": {}})
OTHER = FeatureKey({"trunk": "u", "view": {}})

_PREAMBLE = """
import sys, time
from pathlib import Path
import numpy as np
from cnncli.features.store import FeatureKey, FeatureStore
from tests.features.storing import KEY, OTHER, digests_of, features_of
store = FeatureStore(Path(sys.argv[1]))
"""


def digests_of(count: int, first: int = 0) -> list[str]:
    """Return distinct digests that are not in ascending order."""
    return [f"{(number * 0x9E3779B97F4A7C15) % 2**64:016x}{number:048x}" for number in range(first, first + count)]


def features_of(count: int, first: int = 0) -> list[np.ndarray]:
    """Return features that identify their image: float32, shape (count, 4), and uint8, shape (count, 2, 2)."""
    numbers = np.arange(first, first + count)
    wide = np.repeat(numbers, 4).reshape(count, 4).astype(np.float32)
    return [wide, (np.repeat(numbers, 4).reshape(count, 2, 2) % 251).astype(np.uint8)]


def segments_in(store: Path, key: FeatureKey = KEY) -> list[Path]:
    """Return the segment folders of a key."""
    return sorted(path for path in (store / key.name).iterdir() if path.is_dir() and not path.name.startswith("."))


def remains_in(store: Path, key: FeatureKey = KEY) -> list[Path]:
    """Return the temporary files and folders of a key."""
    return [path for path in (store / key.name).iterdir() if path.name.startswith(".")]


def start(store: Path, code: str) -> subprocess.Popen[str]:
    """Start another process that opens the cache and runs code, and return it with stdin and stdout as pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", _PREAMBLE + code, str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Wait until a process prints a line, and check that the line is the given word."""
    assert process.stdout is not None
    assert process.stdout.readline() == f"{word}\n"


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and wait until it has ended."""
    process.kill()
    process.communicate()
