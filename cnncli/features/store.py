"""The feature store: what a trunk made of a picture, kept under what it was made from.

Content-addressed: a key says everything the bits depend on (trunk, weights, engine, pixels, view), a picture's digest
says the rest. Under a key lie immutable segments, each a folder with one file per tensor and an index of digests,
written aside and renamed, so that a reader never meets half of one and two runs may fill the store at once:

    <cache>/features/<key>/recipe.json
    <cache>/features/<key>/<segment>/index.json   digests, shapes, dtypes, checksums
    <cache>/features/<key>/<segment>/0.bin …      one row per digest, in the index's order
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array
from cnncli.runs.files import write_atomically

FORMAT = 1


@dataclass(frozen=True)
class FeatureKey:
    """What features are made from: any change of the recipe gives another key."""

    recipe: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The key's folder in the store."""
        text = json.dumps({"format": FORMAT, **self.recipe}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Segment:
    """Immutable rows of one key, memory-mapped."""

    digests: tuple[str, ...]
    arrays: tuple[Array, ...]


class StoredFeatures:
    """The features of a sequence of pictures, row by row in that sequence's order, read from segments on demand."""

    def __init__(self, segments: Sequence[Segment], digests: Sequence[str]) -> None:
        self._segments = segments
        where = {digest: (s, r) for s, segment in enumerate(segments) for r, digest in enumerate(segment.digests)}
        self._segment_of = np.array([where[digest][0] for digest in digests], dtype=np.int64)
        self._row_of = np.array([where[digest][1] for digest in digests], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shape of one row of each tensor."""
        return [array.shape[1:] for array in self._segments[0].arrays] if self._segments else []

    def rows(self, indexes: NDArray[np.int64]) -> list[Array]:
        """The features of some pictures: one array (len(indexes), …) per tensor, in the order of `indexes`."""
        segments, rows = self._segment_of[indexes], self._row_of[indexes]
        gathered: list[Array] = []
        for number, first in enumerate(self._segments[0].arrays):
            out = np.empty((len(indexes), *first.shape[1:]), first.dtype)
            for segment in np.unique(segments):
                here = segments == segment
                out[here] = self._segments[segment].arrays[number][rows[here]]
            gathered.append(out)
        return gathered


class FeatureStore:
    """The features on this machine, in one folder."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`; it appears with the first segment."""
        self._folder = folder
        self._open: dict[Path, Segment | None] = {}

    def missing(self, key: FeatureKey, digests: Sequence[str]) -> list[str]:
        """The digests that are not stored under a key, each once, in the order given."""
        have = {digest for segment in self._segments(key) for digest in segment.digests}
        return [digest for digest in dict.fromkeys(digests) if digest not in have]

    def read(self, key: FeatureKey, digests: Sequence[str]) -> StoredFeatures:
        """The features of pictures that are all stored."""
        wanted = set(digests)
        segments = [segment for segment in self._segments(key) if wanted & set(segment.digests)]
        return StoredFeatures(segments, digests)

    def write(self, key: FeatureKey, digests: Sequence[str], arrays: Sequence[Array]) -> None:
        """Add a segment: row i of each array belongs to the i-th digest."""
        folder = self._folder / key.name
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "recipe.json").exists():
            write_atomically(folder / "recipe.json", json.dumps(dict(key.recipe), indent=1, default=str) + "\n")
        aside = folder / f".{uuid.uuid4().hex}"
        aside.mkdir()
        try:
            index = {"digests": list(digests), "tensors": [_write(aside, n, array) for n, array in enumerate(arrays)]}
            write_atomically(aside / "index.json", json.dumps(index))
            aside.rename(folder / aside.name[1:])
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise

    def _segments(self, key: FeatureKey) -> list[Segment]:
        folder = self._folder / key.name
        if not folder.is_dir():
            return []
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.name.startswith(".") and path not in self._open:
                self._open[path] = _read(path)
        return [segment for path, segment in self._open.items() if segment and path.parent == folder]


def _write(folder: Path, number: int, array: Array) -> dict[str, Any]:
    data = np.ascontiguousarray(array)
    write_atomically(folder / f"{number}.bin", data.tobytes())
    return {"shape": list(data.shape), "dtype": str(data.dtype), "sha256": _checksum(data)}


def _read(folder: Path) -> Segment | None:
    """Map a segment into memory; None where it is damaged, so that its pictures count as missing."""
    try:
        index = json.loads((folder / "index.json").read_text())
        arrays = tuple(_map(folder / f"{n}.bin", tensor) for n, tensor in enumerate(index["tensors"]))
        return Segment(tuple(index["digests"]), arrays)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _map(path: Path, tensor: Mapping[str, Any]) -> Array:
    array = np.memmap(path, _dtype(tensor["dtype"]), "r", shape=tuple(tensor["shape"]))
    if _checksum(array) != tensor["sha256"]:
        raise ValueError(f"{path}: checksum")
    return array


def _checksum(array: Array) -> str:
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()


def _dtype(name: str) -> np.dtype[Any]:
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    return dtype
