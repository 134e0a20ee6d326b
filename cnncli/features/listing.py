"""The keys of the feature cache, with what is known about them."""

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

from cnncli.features.eviction import stored_key
from cnncli.features.segments import DESCRIPTION, LOCK, read_segment, subfolders
from cnncli.runs.documents import time_text
from cnncli.storage.locks import Lock
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
"""Number of digits shown of a trunk's fingerprint if its name is unknown, and of the hash of an augmentation."""


@dataclass(frozen=True)
class KeySummary:
    """One key of the feature cache. Unknown values are None.

    Attributes:
        name: name of the key's folder.
        network: network that computed the features; `pixels` for decoded pixels.
        cut: layer whose output they are.
        trunk: fingerprint of the network up to there; None for pixels.
        view: number of the view; 0: the images themselves.
        augmentation: settings by which the view was rendered.
        engine: engine that ran the trunk.
        precision: precision of the trunk.
        height_px: height of the pixels.
        width_px: width of the pixels.
        color: color mode of the pixels.
        images: number of images.
        size_bytes: size on disk.
        used: when the key was last read or written, in seconds since 1970.
        in_use: whether a process has it open.
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
        """Return all fields, for JSON."""
        facts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**facts, "used": time_text(datetime.fromtimestamp(self.used, UTC))}

    def cells(self) -> tuple[str, ...]:
        """Return the fields as a row of a table with the columns `COLUMNS`, in local time."""
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


def list_keys(cache: Path) -> tuple[KeySummary, ...]:
    """Return the keys of a cache, the least recently used ones first, which are evicted first."""
    found = []
    for key in subfolders(cache):
        with suppress(FileNotFoundError):  # another process may evict it meanwhile
            found.append(summary_of(key))
    return tuple(sorted(found, key=lambda key: (key.used, key.name)))


def summary_of(key: Path) -> KeySummary:
    """Summarize a key, whatever its folder holds.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    stored, description = stored_key(key), _read_description(key)
    recipe, facts = _group(description, "recipe"), _group(description, "facts")
    engine, pixels, view = _group(recipe, "engine"), _group(recipe, "pixels"), _group(recipe, "view")
    return KeySummary(
        name=key.name,
        network=_text(facts.get("network")) or _trunk_name(recipe),
        cut=_text(facts.get("cut")),
        trunk=_text(recipe.get("trunk")),
        view=(_number(view.get("view")) or 0) if recipe else None,
        augmentation={name: value for name, value in view.items() if name != "view"} or None,
        engine=_text(engine.get("engine")),
        precision=_text(engine.get("precision")),
        height_px=_number(pixels.get("height")),
        width_px=_number(pixels.get("width")),
        color=_text(pixels.get("color")),
        images=_count_images(key),
        size_bytes=stored.size_bytes,
        used=stored.used,
        in_use=_is_in_use(key),
    )


def _count_images(key: Path) -> int:
    """Return the number of images in a key, each counted once."""
    found = []
    for folder in subfolders(key):
        with suppress(OSError):
            if segment := read_segment(folder):
                found.append(segment.digests)
    return len(np.unique(np.concatenate(found))) if found else 0


def _trunk_name(recipe: Mapping[str, Any]) -> str | None:
    """Return a name for a trunk of unknown name, from its fingerprint; `pixels` if there is no trunk."""
    if not recipe:
        return None
    trunk = _text(recipe.get("trunk"))
    return f"network {trunk[:HASH_LENGTH]}" if trunk else "pixels"


def _short(augmentation: Mapping[str, Any]) -> str:
    """Return a short hash of an augmentation, whose settings do not fit into a cell."""
    return hashlib.sha256(json.dumps(augmentation, sort_keys=True).encode()).hexdigest()[:HASH_LENGTH]


def _is_in_use(key: Path) -> bool:
    try:
        with Lock(key / LOCK, create=False) as lock:
            return not lock.try_alone()
    except OSError:
        return False


def _read_description(key: Path) -> Mapping[str, Any]:
    try:
        description = json.loads((key / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return description if isinstance(description, dict) else {}


def _group(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = facts.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
