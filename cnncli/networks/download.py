"""Keras's own ImageNet weights, through Keras's own download into Keras's own folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from cnncli.errors import WeightsError
from cnncli.networks.applications import PublishedFile
from cnncli.networks.backend import import_keras


def weights_folder() -> Path:
    """Where Keras keeps downloaded weights: `$KERAS_HOME/models`, else `~/.keras/models`. Keras is not imported."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        user = Path.home()
        home = str((user if os.access(user, os.W_OK) else Path("/tmp")) / ".keras")
    return Path(home).expanduser() / "models"


def fetch(file: PublishedFile) -> Path:
    """The path of a published file: the one in Keras's folder where it is whole, else downloaded.

    A download gets its final name only when it is complete, so that one that was cut off is never taken for weights:
    for MobileNet and MobileNetV2 Keras knows no hash by which it could tell. Progress goes to stderr.

    Raises: WeightsError: no network, refused, not there, cut off, or with another hash than Keras expects.
    """
    target = weights_folder() / file.name
    if target.is_file() and _is_whole(target, file):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".download-", dir=target.parent))
    except OSError as error:
        raise WeightsError(f"{target.parent}: cannot be written ({error.strerror}); set KERAS_HOME") from error
    try:
        fetched = _download(file, folder)
        fetched.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def _download(file: PublishedFile, folder: Path) -> Path:
    utils = import_keras().utils
    try:
        with contextlib.redirect_stdout(sys.stderr):
            fetched = utils.get_file(file.name, file.url, file_hash=file.digest, cache_dir=folder, cache_subdir="")
    # Keras raises bare Exception for what goes wrong on the way.
    except Exception as error:
        raise WeightsError(_problem(file, error)) from error
    return Path(fetched)


def _problem(file: PublishedFile, error: Exception) -> str:
    reason = " ".join(str(error).split())
    return f"{file.url}: {reason}; or put the file at {weights_folder() / file.name}"


def _is_whole(path: Path, file: PublishedFile) -> bool:
    """Whether a file of that name is what Keras published, as far as can be told."""
    import h5py
    from keras.src.utils.file_utils import validate_file

    if file.digest is not None:
        return bool(validate_file(str(path), file.digest))
    # HDF5 notes its own length: a file that was cut off does not open.
    return bool(h5py.is_hdf5(path)) and _opens(path)


def _opens(path: Path) -> bool:
    import h5py

    try:
        with h5py.File(path, "r"):
            return True
    except OSError:
        return False
