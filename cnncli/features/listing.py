"""List the keys of the feature cache with their descriptions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cnncli.features.eviction import StoredKey, stored_keys
from cnncli.features.segments import DESCRIPTION, LOCK, read_segment, subfolders
from cnncli.runs.documents import time_text
from cnncli.storage.locks import is_locked
from cnncli.storage.safe_io import read_json
from cnncli.terminal.formatting import size

OPTIONAL = ("in use", "engine", "augmented", "precision", "last used", "images", "pixels")
"""Columns that a narrow terminal does not show, the least important first."""

HASH_LENGTH = 8
"""Number of digits shown of a trunk's fingerprint if its name is unknown, and of the hash of an augmentation."""

T = TypeVar("T")


@dataclass(frozen=True)
class KeySummary:
    """Summary of a feature-cache key. Unknown values are None.

    Attributes:
        name: Name of the key's folder.
        network: Network that computed the features; `pixels` for decoded pixels.
        cut: Layer whose output is cached.
        trunk: Fingerprint of the network up to that layer; None for pixels.
        view: Number of the view; 0 for the images themselves.
        augmentation: Augmentation settings of the view.
        images: Number of distinct images.
        used: Time of the key's last use, in seconds since 1970.
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
        return {**asdict(self), "used": time_text(datetime.fromtimestamp(self.used, UTC))}

    def cells(self) -> dict[str, str]:
        """Return the row of a table by column, with times in the local time zone."""
        gray = " grayscale" if self.color == "grayscale" else ""
        return {
            "features of": self.network or "–",
            "cut after": self.cut or "–",
            "view": "–" if self.view is None else str(self.view),
            "augmented": "–" if self.augmentation is None else _short_hash(self.augmentation),
            "engine": self.engine or "–",
            "precision": self.precision or "–",
            "pixels": "–" if self.height_px is None else f"{self.height_px}×{self.width_px}{gray}",
            "images": f"{self.images:,}",
            "size": size(self.size_bytes),
            "last used": f"{datetime.fromtimestamp(self.used):%Y-%m-%d %H:%M}",
            "in use": "yes" if self.in_use else "no",
        }


def list_keys(cache: Path) -> tuple[KeySummary, ...]:
    """Return the keys of a cache in the order in which they are evicted, the least recently used first."""
    return tuple(_summarize(key) for key in sorted(stored_keys(cache), key=lambda key: (key.used, key.path.name)))


def _summarize(key: StoredKey) -> KeySummary:
    """Summarize a key, whatever its folder contains; another process may be deleting it."""
    description = None
    with suppress(OSError, ValueError):
        description = read_json(key.path / DESCRIPTION)
    recipe = _value(description, dict, "recipe") or {}
    view = _value(recipe, dict, "view") or {}
    trunk = _value(recipe, str, "trunk")
    name_of_trunk = f"network {trunk[:HASH_LENGTH]}" if trunk else "pixels" if recipe else None
    return KeySummary(
        name=key.path.name,
        network=_value(description, str, "facts", "network") or name_of_trunk,
        cut=_value(description, str, "facts", "cut"),
        trunk=trunk,
        view=(_value(view, int, "view") or 0) if recipe else None,
        augmentation={name: value for name, value in view.items() if name != "view"} or None,
        engine=_value(recipe, str, "engine", "engine"),
        precision=_value(recipe, str, "engine", "precision"),
        height_px=_value(recipe, int, "pixels", "height"),
        width_px=_value(recipe, int, "pixels", "width"),
        color=_value(recipe, str, "pixels", "color"),
        images=_count_images(key.path),
        size_bytes=key.size_bytes,
        used=key.used,
        in_use=is_locked(key.path / LOCK),
    )


def _value(document: Any, kind: type[T], *names: str) -> T | None:
    """Return a value in nested mappings, or None if it is missing or has the wrong type."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, kind) else None


def _count_images(key: Path) -> int:
    """Return the number of different images in a key."""
    found = [np.empty(0, "S32")]
    for folder in subfolders(key):
        with suppress(OSError, ValueError):
            found.append(read_segment(folder).digests)
    return len(np.unique(np.concatenate(found)))


def _short_hash(augmentation: Mapping[str, Any]) -> str:
    """Return a short hash of an augmentation, because its settings do not fit into a cell."""
    return hashlib.sha256(json.dumps(augmentation, sort_keys=True).encode()).hexdigest()[:HASH_LENGTH]
