"""Files written by `numpy.savez`, read so that no file takes more memory than its own size."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.storage.zips import ARCHIVE_ERRORS, open_zip, read_entry, repeated_names

Arrays = dict[str, NDArray[Any]]

SUFFIX = ".npy"
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path) -> Arrays:
    """Read the arrays of an uncompressed `.npz`, by name.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not such a file, or an array is compressed, holds objects, or is longer than its data.
    """
    try:
        with open_zip(path) as archive:
            if repeated := repeated_names(archive):
                raise ValueError(f"duplicate entries: {', '.join(repeated)}")
            return {entry.filename.removesuffix(SUFFIX): _array(archive, entry) for entry in archive.infolist()}
    except ARCHIVE_ERRORS as error:
        if isinstance(error, OSError | ValueError):
            raise
        raise ValueError(str(error)) from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    if entry.compress_type != zipfile.ZIP_STORED or not entry.filename.endswith(SUFFIX):
        raise ValueError(f"{entry.filename} is not an uncompressed array")
    data = read_entry(archive, entry, entry.compress_size)
    file = io.BytesIO(data)
    try:
        read_header = _HEADER_READERS[np.lib.format.read_magic(file)]
        shape, is_fortran, dtype = read_header(file)
        if dtype.hasobject or not dtype.itemsize or any(size < 0 for size in shape):
            raise ValueError(shape, dtype)
        values: NDArray[Any] = np.ndarray(shape, dtype, data, file.tell(), order="F" if is_fortran else "C")
    except Exception as error:  # NumPy parses the header as a Python literal, which may raise anything
        raise ValueError(f"{entry.filename} does not hold the values that it declares") from error
    return values.copy()
