"""Merge the features of other caches, such as those that machines filled with one part of the images each.

A source is not trusted: names, sizes and checksums of everything in it are verified before it is written, and features
that are already cached are compared, never replaced. A checksum finds damage, not a forgery: the values themselves
cannot be verified.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.engines.engine import Array
from cnncli.errors import CacheError, Message, printable, reason_of
from cnncli.features.segments import DESCRIPTION, INDEX, LOCK, NAME_LENGTH, ROWS, Segment, read_segment
from cnncli.features.store import FeatureKey, FeatureStore
from cnncli.runtime.environment import processor
from cnncli.storage.safe_io import read_bytes, read_json
from cnncli.terminal.formatting import size

MOST_ROWS_BYTES = 2**30
"""Maximum size of the rows of a segment, which are read at once; cnncli writes about 64 MB."""
MOST_DESCRIPTION_BYTES = 2**20
DTYPES = ("uint8", "float16", "float32", "bfloat16")
"""Types of pixels and features."""

_NAME = re.compile(f"[0-9a-f]{{{NAME_LENGTH}}}")
_DAMAGE = (OSError, ValueError, KeyError, TypeError)


@dataclass
class Merged:
    """Result of a merge.

    Attributes:
        keys: Names of the keys that were found.
        added: Number of features that were added.
        present: Number of features that were already cached, bit by bit the same.
        foreign: Processors on which features were computed whose instruction sets differ from this machine's.
        refused: Everything that was not merged, with the reason.
    """

    keys: set[str] = field(default_factory=set)
    added: int = 0
    present: int = 0
    added_bytes: int = 0
    foreign: set[str] = field(default_factory=set)
    refused: list[Message] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `cache merge --json`."""
        counts = {"added": self.added, "present": self.present, "added_bytes": self.added_bytes}
        return {"keys": len(self.keys), **counts, "processors": sorted(self.foreign), "refused": self.refused}

    def refuse(self, path: Path, reason: str) -> None:
        """Record that something was not merged, because it is damaged."""
        text = f"{printable(path)}: {reason}; not merged"
        self.refused.append(Message("cache-merge-damaged", text, path=path, reason=reason))


def merge_features(source: Path, store: FeatureStore, merged: Merged) -> None:
    """Add the features in the folder of a feature cache, which need not exist, to a store.

    Raises:
        CacheError: The features do not fit into the store, or cannot be written.
    """
    for folder in _entries(source, (LOCK,), merged):
        try:
            key = _read_key(folder)
        except _DAMAGE as error:
            merged.refuse(folder, f"no valid description ({reason_of(error)})")
            continue
        merged.keys.add(key.name)
        engine = key.recipe.get("engine") or {}
        if (made_on := str(engine.get("processor", processor()))) != processor():
            merged.foreign.add(made_on)
        for segment in _entries(folder, (LOCK, DESCRIPTION), merged):
            try:
                digests, rows = _read_rows(segment)
            except _DAMAGE as error:
                merged.refuse(segment, reason_of(error))
                continue
            _add(key, digests, rows, store, segment, merged)


def _entries(folder: Path, known: tuple[str, ...], merged: Merged) -> Iterator[Path]:
    """Yield the keys of a cache or the segments of a key; refuse everything else except temporary and known files."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name) if folder.is_dir() else ():
        if entry.name in known or entry.name.startswith("."):
            continue
        if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)
        else:
            text = f"{printable(entry.path)}: not part of a feature cache; not merged"
            merged.refused.append(Message("cache-merge-foreign", text, path=Path(entry.path)))


def _read_key(folder: Path) -> FeatureKey:
    """Read the description of a key, whose hash names its folder."""
    description = read_json(folder / DESCRIPTION, MOST_DESCRIPTION_BYTES)
    facts = {name: text for name, text in description["facts"].items() if isinstance(text, str)}
    key = FeatureKey(dict(description["recipe"]), facts)
    if key.name != folder.name:
        raise ValueError("its name is not the hash of its recipe")
    return key


def _read_rows(folder: Path) -> tuple[list[str], Array]:
    """Read and verify a segment; return the digest of each row in hexadecimal digits, and the rows."""
    if {path.name for path in folder.iterdir()} != {INDEX, ROWS} or any(path.is_symlink() for path in folder.iterdir()):
        raise ValueError(f"expected the files {INDEX} and {ROWS}")
    segment = read_segment(folder)
    _require_plain(segment)
    data = read_bytes(folder / ROWS, MOST_ROWS_BYTES)
    if len(data) != len(segment.digests) * segment.record.itemsize:
        raise ValueError(f"{ROWS} has {len(data):,} bytes for {len(segment.digests):,} rows")
    if hashlib.sha256(data).hexdigest() != segment.rows_checksum:
        raise ValueError("damaged rows")
    packed = segment.digests.tobytes()
    return [packed[at : at + 32].hex() for at in range(0, len(packed), 32)], np.frombuffer(data, segment.record)


def _require_plain(segment: Segment) -> None:
    """Raise ValueError unless the rows of a segment are numbers of a type that features have."""
    fields = [dtype.base.name for dtype, *_ in (segment.record.fields or {}).values()]
    if not fields or not set(fields) <= set(DTYPES) or not segment.record.itemsize:
        raise ValueError(f"its rows are not of the types {', '.join(DTYPES)}")


def _add(key: FeatureKey, digests: list[str], rows: Array, store: FeatureStore, segment: Path, merged: Merged) -> None:
    """Add the rows that are not cached yet; compare the others with those in the cache."""
    if (record := store.record(key)) not in (None, rows.dtype):
        text = f"rows of {rows.dtype}, but those in the cache are {record}; not merged"
        facts = {"path": segment, "received": str(rows.dtype), "expected": str(record)}
        merged.refused.append(Message("cache-merge-record", f"{printable(segment)}: {text}", **facts))
        return
    row_of = {digest: row for row, digest in reversed(list(enumerate(digests)))}
    absent = set(store.missing(key, digests))
    present = [digest for digest in row_of if digest not in absent]
    if present:
        n_different = _count_different(store.read(key, present).rows(np.arange(len(present))), rows, row_of, present)
        if n_different:
            text = f"{n_different:,} of {len(row_of):,} features differ from those in the cache, which are kept"
            facts = {"path": segment, "received": n_different}
            merged.refused.append(Message("cache-merge-conflict", f"{printable(segment)}: {text}", **facts))
            return
        merged.present += len(present)
    if absent:
        new = [digest for digest in row_of if digest in absent]
        chosen = rows[[row_of[digest] for digest in new]]
        _require_room(merged.added_bytes + chosen.nbytes, store)
        store.write(key, new, [np.ascontiguousarray(chosen[name]) for name in chosen.dtype.names or ()])
        merged.added += len(new)
        merged.added_bytes += chosen.nbytes


def _count_different(cached: list[Array], rows: Array, row_of: dict[str, int], present: list[str]) -> int:
    """Return the number of images whose cached features differ from the given rows in any bit."""
    given = rows[[row_of[digest] for digest in present]]
    pairs = [
        (_as_bytes(one), _as_bytes(given[name])) for one, name in zip(cached, given.dtype.names or (), strict=True)
    ]
    return int(np.any([(one != other).any(axis=1) for one, other in pairs], axis=0).sum())


def _as_bytes(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)


def _require_room(needed_bytes: int, store: FeatureStore) -> None:
    if needed_bytes > (capacity := store.capacity()):
        raise too_small(needed_bytes, capacity)


def too_small(needed_bytes: int, capacity_bytes: int) -> CacheError:
    """Return the error for features that do not fit into the cache."""
    text = f"The features take {size(needed_bytes)} or more, but the cache has room for {size(capacity_bytes)}."
    remedy = "Raise cache.max_gb or CNNCLI_CACHE__MAX_GB, free disk space, or set CNNCLI_CACHE to a larger disk."
    return CacheError(Message("cache-too-small", f"{text} {remedy}", received=needed_bytes, expected=capacity_bytes))
