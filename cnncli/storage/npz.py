"""Read files written by `numpy.savez` such that no file takes more memory than its own size."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.storage.zips import ARCHIVE_ERRORS, open_zip

Arrays = dict[str, NDArray[Any]]

SUFFIX = ".npy"


def read_arrays(path: Path) -> Arrays:
    """Read the arrays of an uncompressed `.npz` by name.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not an `.npz`, or an array is compressed, contains objects, or exceeds its data.
    """
    try:
        with open_zip(path) as archive:
            return {entry.filename.removesuffix(SUFFIX): _array(archive, entry) for entry in archive.infolist()}
    except (OSError, ValueError):
        raise
    except ARCHIVE_ERRORS as error:
        raise ValueError(str(error)) from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    if entry.compress_type != zipfile.ZIP_STORED or not entry.filename.endswith(SUFFIX):
        raise ValueError(f"{entry.filename} is not an uncompressed array")
    try:
        with archive.open(entry) as file:  # NumPy reads it in blocks: memory is used only for data that is there
            values: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # NumPy parses the header as a Python literal, which may raise anything
        raise ValueError(f"{entry.filename} is not a valid array") from error
    if not values.dtype.itemsize:
        raise ValueError(f"{entry.filename} has values without bytes")
    return values
