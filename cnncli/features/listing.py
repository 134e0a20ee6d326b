"""The keys of a store with what is known about them; one that cannot be read is listed as what it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.features.eviction import segments_of
from cnncli.features.layout import LOCK, RECIPE, subfolders
from cnncli.features.segments import read_segment
from cnncli.runs.run_json import time_text
from cnncli.storage.locks import try_exclusive
from cnncli.terminal.formatting import size

COLUMNS = (
    "features of",
    "cut after",
    "view",
    "augmented",
    "engine",
    "precision",
    "pixels",
    "images",
    "size",
    "last used",
    "in use",
)
OPTIONAL = ("in use", "engine", "augmented", "precision", "last used", "images", "pixels")
"""Columns that a narrow terminal does not show, the least important first."""

HASH_LENGTH = 8
"""Digits of a trunk's fingerprint that stand for it where no name is known, and of what stands for an augmentation."""


@dataclass(frozen=True)
class KeySummary:
    """One key as a line of a list; what is not known is None.

    Attributes:
        name: of its folder.
        network: what the features were made by; `pixels` where they are decoded pixels.
        cut: the layer whose output they are.
        trunk: the fingerprint of the network up to there; None of pixels.
        view: 0: the images themselves.
        augmentation: how any other view is rendered.
        engine: what ran the trunk.
        precision: of its arithmetic.
        height_px, width_px, color: of the pixels it was given.
        images: how many are stored.
        size_bytes: on the disk.
        used: when any of them was last read or written, in seconds since 1970.
        in_use: whether a living process has it open.
    """

    name: str
    network: str | None
    cut: str | None
    trunk: str | None
    view: int | None
    augmentation: Mapping[str, Any] | None
    engine: str | None
    precision: str | None
    height_px: int | None
    width_px: int | None
    color: str | None
    images: int
    size_bytes: int
    used: float
    in_use: bool

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        facts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**facts, "used": time_text(datetime.fromtimestamp(self.used, UTC))}

    def cells(self) -> tuple[str, ...]:
        """The fields as the `COLUMNS` of a table, the time in the time zone of whoever looks."""
        gray = " grayscale" if self.color == "grayscale" else ""
        return (
            self.network or "–",
            self.cut or "–",
            "–" if self.view is None else str(self.view),
            "–" if self.augmentation is None else _short(self.augmentation),
            self.engine or "–",
            self.precision or "–",
            "–" if self.height_px is None else f"{self.height_px}×{self.width_px}{gray}",
            f"{self.images:,}",
            size(self.size_bytes),
            f"{datetime.fromtimestamp(self.used):%Y-%m-%d %H:%M}",
            "yes" if self.in_use else "no",
        )


def list_keys(store: Path) -> tuple[KeySummary, ...]:
    """The keys of a store; those that were not used for longest, which would go first, come first."""
    found = []
    for key in subfolders(store):
        with suppress(FileNotFoundError):  # another process has evicted it meanwhile
            found.append(summary_of(key))
    return tuple(sorted(found, key=lambda key: (key.used, key.name)))


def summary_of(key: Path) -> KeySummary:
    """One key in short; whatever its folder holds, this answers.

    Raises:
        FileNotFoundError: there is no such folder any more.
    """
    segments = segments_of(key)
    described = _described(key)
    recipe, facts = _group(described, "recipe"), _group(described, "facts")
    engine, pixels, view = _group(recipe, "engine"), _group(recipe, "pixels"), _group(recipe, "view")
    return KeySummary(
        name=key.name,
        network=_text(facts.get("network")) or _trunk(recipe),
        cut=_text(facts.get("cut")),
        trunk=_text(recipe.get("trunk")),
        view=(_number(view.get("view")) or 0) if recipe else None,
        augmentation={name: value for name, value in view.items() if name != "view"} or None,
        engine=_text(engine.get("engine")),
        precision=_text(engine.get("precision")),
        height_px=_number(pixels.get("height")),
        width_px=_number(pixels.get("width")),
        color=_text(pixels.get("color")),
        images=_images(key),
        size_bytes=sum(segment.size_bytes for segment in segments),
        used=max(segment.used for segment in segments) if segments else key.stat().st_mtime,
        in_use=_is_in_use(key),
    )


def _images(key: Path) -> int:
    """How many images have features in a key, each counted once."""
    found = []
    for folder in subfolders(key):
        with suppress(OSError):
            if read := read_segment(folder):
                found.append(read[1])
    return len(np.unique(np.concatenate(found))) if found else 0


def _trunk(recipe: Mapping[str, Any]) -> str | None:
    """The trunk where no name is known: the beginning of its fingerprint; `pixels` where there is none."""
    if not recipe:
        return None
    trunk = _text(recipe.get("trunk"))
    return f"network {trunk[:HASH_LENGTH]}" if trunk else "pixels"


def _short(augmentation: Mapping[str, Any]) -> str:
    """A few digits that stand for an augmentation; its settings would take more than a cell."""
    return hashlib.sha256(json.dumps(augmentation, sort_keys=True).encode()).hexdigest()[:HASH_LENGTH]


def _is_in_use(key: Path) -> bool:
    if (key / LOCK).exists():
        with suppress(OSError):
            lock = try_exclusive(key / LOCK)
            if lock is None:
                return True
            lock.release()
    return False


def _described(key: Path) -> Mapping[str, Any]:
    try:
        described = json.loads((key / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return described if isinstance(described, dict) else {}


def _group(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = facts.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
