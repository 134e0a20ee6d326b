"""Arrays in a file: what `numpy.savez` writes, read so that no file takes more memory than it has bytes."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.storage.zips import ARCHIVE_ERRORS, open_zip, read_entry, repeated_names

Arrays = dict[str, NDArray[Any]]

SUFFIX = ".npy"


def read_arrays(path: Path) -> Arrays:
    """The arrays of an uncompressed `.npz`, by name.

    Raises:
        OSError: it cannot be read.
        ValueError: no such file; an array that is packed, of objects, or longer than its part of the file.
    """
    try:
        with open_zip(path) as archive:
            if repeated := repeated_names(archive):
                raise ValueError(f"{', '.join(repeated)} stand in it twice")
            return {entry.filename.removesuffix(SUFFIX): _array(archive, entry) for entry in archive.infolist()}
    except ARCHIVE_ERRORS as error:
        if isinstance(error, OSError | ValueError):
            raise
        raise ValueError(str(error)) from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    if entry.compress_type != zipfile.ZIP_STORED or not entry.filename.endswith(SUFFIX):
        raise ValueError(f"{entry.filename} is no array as cnncli stores it")
    data = read_entry(archive, entry, entry.compress_size)
    file = io.BytesIO(data)
    shape, is_fortran, dtype = _header(file, entry.filename)
    is_absurd = dtype.hasobject or dtype.itemsize == 0 or any(size < 0 for size in shape)
    if is_absurd or math.prod(shape) * dtype.itemsize > len(data) - file.tell():
        raise ValueError(f"{entry.filename} declares other values than it holds")
    values = np.frombuffer(data, dtype, math.prod(shape), file.tell())
    return values.reshape(shape, order="F" if is_fortran else "C").copy()


def _header(file: io.BytesIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        return read(file)
    except Exception as error:  # NumPy reads the header as a Python literal, and passes on what that raises
        raise ValueError(f"{name} does not say what it holds") from error
