"""Checkpoints of a run: folders in `state/`, protected by checksums, of which the newest valid one is used.

state.json contains the progress of training, arrays.npz the weights, optimizer slots and states of random layers. A
checkpoint is created by a single rename, so after a crash there are the old ones or the new one. Two are kept, and also
the newest one between two epochs, for a rollback. A finished run keeps those needed for more epochs.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.errors import Message, RunError, printable, reason_of
from cnncli.runs.documents import damaged, read_document, with_current_names
from cnncli.storage.checksums import checksummed, damage
from cnncli.storage.zips import Arrays, read_arrays

log = logging.getLogger(__name__)

FORMAT = 2
KEPT = 2
DOCUMENT, ARRAYS = "state.json", "arrays.npz"
MAX_DOCUMENT_BYTES = 64 * 2**20
"""Maximum size of state.json, which has a few hundred bytes per epoch."""


@dataclass(frozen=True)
class Checkpoint:
    """Training at one moment: plain data for JSON, arrays by name, and whether it is between two epochs."""

    document: Mapping[str, Any]
    arrays: Arrays
    is_between_epochs: bool


class Checkpoints:
    """The checkpoints of a run, in its state folder, which is created with the first one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint to disk and delete older ones.

        Raises:
            RunError: The checkpoint cannot be written; earlier ones are unchanged.
        """
        number = max((int(path.name) for path in self.folders()), default=0) + 1
        facts = {"format": FORMAT, "between_epochs": checkpoint.is_between_epochs, **checkpoint.document}
        try:
            with checksummed(self._folder / f"{number:06}") as temporary:
                (temporary / DOCUMENT).write_text(json.dumps(facts, allow_nan=False) + "\n", encoding="utf-8")
                np.savez(temporary / ARRAYS, allow_pickle=False, **checkpoint.arrays)
        except OSError as error:
            path, reason = error.filename or self._folder, reason_of(error)
            text = f"{printable(path)}: {reason}. No checkpoint could be written; the previous one is valid."
            raise RunError(Message("run-checkpoint-not-writable", text, path=path, reason=reason)) from error
        self._delete_all_but(self.folders()[:KEPT])

    def newest(self, between_epochs: bool = False) -> Checkpoint | None:
        """Return the newest valid checkpoint, or the newest between epochs, or None. Damaged ones cause warnings.

        Raises:
            RunError: It was written by a newer version of cnncli.
        """
        for path in self.folders():
            try:
                found = _read(path)
            except RunError as error:
                if error.code != "run-file-damaged":
                    raise
                reason = error.facts["reason"]
                text = f"{printable(path)}: {reason}. An older checkpoint is used, or the training starts from scratch."
                log.warning(Message("run-checkpoint-damaged", text, path=path, reason=reason))
                continue
            if found.is_between_epochs or not between_epochs:
                return found
        return None

    def keep_newest(self) -> None:
        """Delete all checkpoints of a finished run except the newest valid one (and the newest between epochs)."""
        if valid := next((path for path in self.folders() if damage(path) is None), None):
            self._delete_all_but([valid])

    def delete(self) -> None:
        """Delete all checkpoints. Raises OSError."""
        for path in self.folders():
            shutil.rmtree(path)

    def folders(self) -> list[Path]:
        """Return the folders of the checkpoints, newest first."""
        if not self._folder.is_dir():
            return []
        return sorted((path for path in self._folder.iterdir() if path.name.isdecimal()), reverse=True)

    def _delete_all_but(self, kept: list[Path]) -> None:
        """Delete checkpoints except some and the newest between epochs, and temporary files of killed processes."""
        between = next((path for path in self.folders() if _is_between_epochs(path)), None)
        old = [path for path in self.folders() if path not in kept and path != between]
        for path in (*old, *self._folder.glob(".*")):
            shutil.rmtree(path, ignore_errors=True)


def _read(folder: Path) -> Checkpoint:
    """Read a checkpoint. Raises RunError if it is damaged or from a newer version of cnncli."""
    if (problem := damage(folder)) is not None:
        raise damaged(folder, problem)
    document = read_document(folder / DOCUMENT, FORMAT, MAX_DOCUMENT_BYTES)
    try:
        arrays = read_arrays(folder / ARRAYS)
        return Checkpoint(with_current_names(document), arrays, is_between_epochs=bool(document["between_epochs"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(folder, printable(str(error))[:200]) from None


def _is_between_epochs(folder: Path) -> bool:
    try:
        return bool(read_document(folder / DOCUMENT, FORMAT, MAX_DOCUMENT_BYTES).get("between_epochs"))
    except RunError:
        return False
