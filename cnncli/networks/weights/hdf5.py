"""Untrusted HDF5 files: no external links, no external data, only numbers and short names.

A file of one kilobyte can declare an array of a terabyte, so arrays are read only after their shapes were compared.
"""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import h5py

MAX_OBJECTS = 200_000
MAX_CHUNK_ITEMS = 2**24
MAX_NAME_BYTES = 1_000
MAX_TEXT_BYTES = 1_200_000_000
"""Maximum size of a list of names. NASNetLarge's 1,041 names share a heap with its description, a megabyte of text."""

# Deflate, shuffle, Fletcher's checksum, szip, n-bit, scale and offset, LZF: part of h5py. Others are plug-ins.
_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})
_HEAP = re.compile(rb"GCOL\x01\0\0\0(?=(.{8}))", re.DOTALL)


@contextmanager
def open_hdf5(source: Path | BinaryIO) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading inside the block.

    Raises:
        OSError: The file is missing, truncated or not HDF5.
        ValueError: A link leads outside the file, or two links lead to the same object, as in a cycle.
    """
    import h5py

    with h5py.File(source, "r") as file:
        addresses = {h5py.h5o.get_info(file.id).addr}

        def check(name: bytes, link: Any) -> ValueError | None:
            place = f"/{name.decode(errors='replace')}"
            if link.type != h5py.h5l.TYPE_HARD or link.u in addresses or len(addresses) > MAX_OBJECTS:
                return ValueError(f"{place} is a link as Keras never writes it")
            addresses.add(link.u)
            return None

        error = file.id.links.visit(check, info=True)  # HDF5 itself visits each group once
        if error is not None:
            raise error
        yield file


def check_plain(path: Path) -> None:
    """Check that a file contains only groups and arrays of numbers, each stored uncompressed and in full.

    Such a file takes no more memory than its size, even in a reader that does not compare shapes first.

    Raises:
        ValueError: The file contains something else.
    """
    import h5py

    def check(_: str, found: h5py.Group | h5py.Dataset) -> None:
        if not isinstance(found, h5py.Group):
            array = as_array(found)
            if array.chunks is not None or array.id.get_storage_size() != array.size * array.dtype.itemsize:
                raise ValueError(f"{array.name} declares more than is stored")

    with open_hdf5(path) as file:
        file.visititems(check)


def as_array(found: Any) -> h5py.Dataset:
    """Return an object of a file, unread, if it is an array of numbers in that file.

    Raises:
        ValueError: It is something else, or needs a plug-in, or has chunks that would fill the memory.
    """
    import h5py

    if isinstance(found, h5py.Dataset):
        plan = found.id.get_create_plist()
        filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
        is_stored_here = not (found.external or found.is_virtual or found.shape is None)
        is_numeric = found.dtype.kind in "fiu" or _is_bfloat16(found)
        is_small = is_stored_here and math.prod(found.chunks or ()) <= max(MAX_CHUNK_ITEMS, found.size)
        if is_numeric and is_small and filters <= _FILTERS:
            return found
    raise ValueError(f"{found.name} is not an array of numbers as Keras writes it")


def read_array(array: h5py.Dataset) -> NDArray[np.float32]:
    """Read an array, whose shape must have been compared before."""
    values = array[()]
    if _is_bfloat16(array):
        import ml_dtypes

        values = values.view(ml_dtypes.bfloat16)
    return np.asarray(values, np.float32)


def _is_bfloat16(array: h5py.Dataset) -> bool:
    """Return whether an array is bfloat16, which Keras writes as two raw bytes with the type in an attribute."""
    return array.dtype.kind == "V" and array.dtype.itemsize == 2 and name_in(array, "dtype") == "bfloat16"


def name_in(where: h5py.Group | h5py.Dataset, attribute: str) -> str | None:
    """Return the single name in an attribute, or None."""
    if attribute not in where.attrs or where.attrs.get_id(attribute).shape != ():
        return None
    return _texts(where, attribute, 0)[0]


def names_in(group: h5py.Group, attribute: str, longest_text: int) -> list[str]:
    """Return the names in an attribute, or in `attribute0`, `attribute1` … if the list is too long for one attribute.

    `longest_text` is an upper bound for each name; see `longest_text_in`. Raises ValueError.
    """
    numbered = takewhile(group.attrs.__contains__, (f"{attribute}{number}" for number in count()))
    parts = [attribute] if attribute in group.attrs else numbered
    return [name for part in parts for name in _texts(group, part, longest_text)]


def _texts(where: h5py.Group | h5py.Dataset, attribute: str, longest_text: int) -> list[str]:
    import h5py

    stored = where.attrs.get_id(attribute)
    n_texts = math.prod(stored.shape)
    if n_texts == 0:
        return []
    if h5py.check_string_dtype(stored.dtype) is None:
        raise ValueError(f"{where.name} has names as Keras never writes them")
    if n_texts * longest_text > MAX_TEXT_BYTES:
        remedy = "save the model again with model.save_weights('NAME.weights.h5')"
        raise ValueError(f"{where.name} has {n_texts:,} names that could fill the memory ({remedy})")
    texts = np.empty(stored.shape, stored.dtype)
    stored.read(texts)
    if any(len(text) > MAX_NAME_BYTES for text in texts.flat):
        raise ValueError(f"{where.name} has a name of more than {MAX_NAME_BYTES:,} bytes")
    return [text.decode("utf-8") for text in texts.flat]


def longest_text_in(path: Path) -> int:
    """Return an upper bound in bytes for variable-length strings: the size of the largest heap that contains them.

    A list of strings is a list of references to these heaps, so a thousand names can be the same long string.
    (HDF5 file format specification, III.E, "Disk Format: Level 1E - Global Heap".)
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        longest = max((int.from_bytes(match[1], "little") for match in _HEAP.finditer(content)), default=0)
        return min(longest, len(content))
