"""`outputs.npz` of a run: the logits of evaluated images, from which all results can be computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import reason_of
from cnncli.runs.documents import damaged
from cnncli.storage.atomic import replacing
from cnncli.storage.zips import ARCHIVE_ERRORS, Arrays, read_arrays


def save_outputs(path: Path, split: str, logits: NDArray[Any]) -> None:
    """Add the logits (n, units) of a split, in the order of the manifest, to a run's outputs.

    Raises:
        OSError: The file cannot be written.
        RunError: The existing file is damaged.
    """
    arrays = _read(path) if path.is_file() else {}
    with replacing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **{**arrays, split: logits.astype(np.float32)})


def load_outputs(path: Path, split: str, n: int, units: int) -> NDArray[np.float32] | None:
    """Return the logits (n, units) of a split, or None if it was not evaluated.

    Raises:
        RunError: The file is damaged, or belongs to other images.
    """
    logits = _read(path).get(split) if path.is_file() else None
    if logits is not None and (logits.shape != (n, units) or logits.dtype != np.float32):
        raise damaged(path, f"{split} has {logits.dtype} values of shape {logits.shape}, expected {(n, units)}")
    return logits


def _read(path: Path) -> Arrays:
    try:
        return read_arrays(path)
    except ARCHIVE_ERRORS as error:
        raise damaged(path, reason_of(error)) from None
