"""Download ImageNet weights published by Keras to Keras's own folder."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from pathlib import Path

from cnncli.errors import Message, WeightsError, printable
from cnncli.networks.weights.hdf5 import open_hdf5
from cnncli.storage.download import DownloadError, PublishedFile, download, has_digest, keras_folder

log = logging.getLogger(__name__)


def weights_folder() -> Path:
    """Return Keras's folder of downloaded weights."""
    return keras_folder("models")


def fetch(file: PublishedFile) -> Path:
    """Return the path of a published file in Keras's folder, after downloading it if it is missing or incomplete.

    An interrupted download is never used as weights, although Keras has no hash for MobileNet and MobileNetV2.

    Raises:
        WeightsError: The file cannot be downloaded, is incomplete, or does not have the hash that Keras expects.
    """
    target = weights_folder() / file.name
    if target.is_file() and _is_complete(target, file):
        return target
    log.info(f"downloading {file.name} from {file.url}")
    try:
        download(file.url, target, partial(_is_complete, file=file), "weights")
    except DownloadError as error:
        key, remedy = (
            "backbone.weights",
            f"put the file at {printable(target)}, or set KERAS_HOME to a different folder",
        )
        text = f"{key}: {file.name} cannot be downloaded from {file.url} ({error}): {remedy}"
        facts = {"key": key, "url": file.url, "path": target, "reason": str(error)}
        raise WeightsError(Message("weights-download-failed", text, **facts)) from error
    return target


def _is_complete(path: Path, file: PublishedFile) -> bool:
    """Return whether a file has the hash that Keras expects or, without a hash, is not truncated."""
    if file.digest is None:
        with suppress(Exception), open_hdf5(path):  # HDF5 raises exceptions of many types for damaged files
            return True
        return False
    return has_digest(path, file.digest)
