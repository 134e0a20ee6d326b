"""Checkpoints of a run: each a new folder in `state/`, sealed by checksums; the newest whole one counts.

    state/000007/state.json     where the training is
    state/000007/arrays.npz     weights, the optimizer's slots, the states of random layers
    state/000007/sha256.json

A checkpoint appears by one rename, so that after a crash at any point there are the old ones or the new one. Two are
kept, and beside them the newest that lies between two epochs, to which a training can be set back.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.errors import RunError, printable
from cnncli.storage.checksums import damage, sealed
from cnncli.storage.npz import Arrays as Arrays
from cnncli.storage.npz import read_arrays
from cnncli.storage.safe_io import read_json
from cnncli.terminal.console import LOGGER

FORMAT = 1
KEPT = 2
DOCUMENT, ARRAYS = "state.json", "arrays.npz"
MOST_DOCUMENT_BYTES = 64 * 2**20
"""Of the plain data, a few hundred bytes for each epoch."""


@dataclass(frozen=True)
class Checkpoint:
    """A training as it was at one moment.

    Attributes:
        document: plain data, as JSON has it.
        arrays: by name.
        is_between_epochs: whether no epoch was under way.
    """

    document: Mapping[str, Any]
    arrays: Arrays
    is_between_epochs: bool


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, warn: Callable[[str], None] = LOGGER.warning) -> None:
        """Use a folder; it appears with the first checkpoint.

        Args:
            folder: of the run's state.
            warn: told of checkpoints that are damaged; default: the log alone.
        """
        self._folder, self._warn = folder, warn

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, on disk when this returns; older ones go.

        Raises:
            RunError: it cannot be written; those before are as they were.
        """
        number = max((int(path.name) for path in self._all()), default=0) + 1
        facts = {"format": FORMAT, "between_epochs": checkpoint.is_between_epochs, **checkpoint.document}
        try:
            with sealed(self._folder / f"{number:06}") as aside:
                (aside / DOCUMENT).write_text(json.dumps(facts, allow_nan=False) + "\n", encoding="utf-8")
                np.savez(aside / ARRAYS, allow_pickle=False, **checkpoint.arrays)
        except OSError as error:
            where = printable(error.filename or self._folder)
            raise RunError(f"{where}: {error.strerror or error}; the checkpoint before this one is whole.") from error
        self._forget_older()

    def newest(self, between_epochs: bool = False) -> Checkpoint | None:
        """The newest checkpoint that is whole; None where there is none. Damaged ones are told.

        Args:
            between_epochs: leave out those in the middle of an epoch.

        Raises:
            RunError: a newer cnncli wrote it.
        """
        for path in self._all():
            found = _read(path)
            if isinstance(found, str):
                self._warn(f"{printable(path)}: {found}; an older checkpoint is taken, or the training begins anew")
            elif found.is_between_epochs or not between_epochs:
                return found
        return None

    def _all(self) -> list[Path]:
        """Their folders, the newest first."""
        if not self._folder.is_dir():
            return []
        return sorted((path for path in self._folder.iterdir() if path.name.isdecimal()), reverse=True)

    def _forget_older(self) -> None:
        paths = self._all()
        between = next((path for path in paths if _is_between_epochs(path)), None)
        for path in paths[KEPT:]:
            if path != between:
                shutil.rmtree(path, ignore_errors=True)
        for leftover in self._folder.glob(".*"):
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                with suppress(OSError):
                    leftover.unlink()


def _read(folder: Path) -> Checkpoint | str:
    """A checkpoint, or what is wrong with it."""
    if (problem := damage(folder)) is not None:
        return problem
    try:
        document = read_json(folder / DOCUMENT, MOST_DOCUMENT_BYTES)
        if document["format"] > FORMAT:
            raise RunError(f"{printable(folder)}: written by a newer cnncli. Update this one.")
        return Checkpoint(document, read_arrays(folder / ARRAYS), bool(document["between_epochs"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"damaged ({printable(str(error))[:200]})"


def _is_between_epochs(folder: Path) -> bool:
    try:
        return bool(read_json(folder / DOCUMENT, MOST_DOCUMENT_BYTES)["between_epochs"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
