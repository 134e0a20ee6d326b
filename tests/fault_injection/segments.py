"""Damage cached features: the damage is detected, the features are computed again, and the result does not change."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from tests.fault_injection.trainings import prepare

KINDS = ("flip", "cut", "insert", "zero")


def damaged(work: Path, random: np.random.Generator) -> None:
    """Damage one file of a segment at a random offset, and train with it."""
    trainer, reference = prepare(work, random, views="2")
    shutil.copytree(reference.cache, work / "cache")
    files = sorted(path for path in (work / "cache" / "features").rglob("*") if path.name in ("rows.bin", "index.json"))
    file = files[int(random.integers(len(files)))]
    damage(file, random)
    damaged_bytes = file.read_bytes()
    assert trainer.finish() == reference.result
    assert not file.exists() or file.read_bytes() != damaged_bytes, "the damage was not detected"


def damage(path: Path, random: np.random.Generator) -> None:
    """Change a file at a random offset."""
    data = bytearray(path.read_bytes())
    offset = int(random.integers(len(data)))
    match KINDS[int(random.integers(len(KINDS)))]:
        case "flip":
            data[offset] ^= 1 << int(random.integers(8))
        case "cut":
            del data[offset:]
        case "insert":
            data.insert(offset, int(random.integers(256)))
        case "zero":
            data[offset:] = bytes([data[offset] ^ 255]) + bytes(len(data) - offset - 1)
    path.write_bytes(data)
