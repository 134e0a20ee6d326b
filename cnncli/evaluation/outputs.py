"""The outputs of a run for evaluated images, `outputs.npz`, from which all results can be computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import reason_of
from cnncli.runs.documents import damaged
from cnncli.storage.atomic import replacing
from cnncli.storage.zips import ARCHIVE_ERRORS, Arrays, read_arrays

DISTANCES = "_distances"
"""End of the names of arrays of distances; the others are logits."""


@dataclass(frozen=True)
class Outputs:
    """The outputs for n images.

    Attributes:
        logits: float32 (n, units).
        distances: (n,) to the training images, see `FeatureReference`; None if the run has no frozen network.
    """

    logits: NDArray[np.float32]
    distances: NDArray[np.float64] | None = None

    @classmethod
    def concatenate(cls, parts: Sequence[Outputs]) -> Self:
        """Join the outputs for several batches of images, at least one."""
        distances = [part.distances for part in parts if part.distances is not None]
        logits = np.concatenate([part.logits for part in parts])
        return cls(logits, np.concatenate(distances) if len(distances) == len(parts) else None)

    def rows(self, places: Sequence[int]) -> Self:
        """Return the outputs for the images at some places, in that order."""
        distances = None if self.distances is None else self.distances[places]
        return replace(self, logits=self.logits[places], distances=distances)


def save_outputs(path: Path, outputs: Mapping[str, Outputs]) -> None:
    """Add the outputs for splits, in the order of the manifest, to those of a run.

    Raises:
        OSError: The file cannot be written.
        RunError: The existing file is damaged.
    """
    arrays = _read(path) if path.is_file() else {}
    for split, one in outputs.items():
        arrays[split] = one.logits.astype(np.float32)
        if one.distances is not None:
            arrays[split + DISTANCES] = one.distances
    with replacing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)


def load_outputs(path: Path, split: str, n: int, units: int) -> Outputs | None:
    """Return the outputs for a split of n images, or None if it was not evaluated.

    Raises:
        RunError: The file is damaged, or belongs to other images.
    """
    arrays = _read(path) if path.is_file() else {}
    logits, distances = arrays.get(split), arrays.get(split + DISTANCES)
    if logits is None:
        return None
    expected = [(logits, (n, units), np.float32), (distances, (n,), np.float64)]
    for values, shape, dtype in expected:
        if values is not None and (values.shape != shape or values.dtype != dtype):
            raise damaged(path, f"{split} has {values.dtype} values of shape {values.shape}, expected {shape}")
    return Outputs(logits, distances)


def _read(path: Path) -> Arrays:
    try:
        return read_arrays(path)
    except ARCHIVE_ERRORS as error:
        raise damaged(path, reason_of(error)) from None
