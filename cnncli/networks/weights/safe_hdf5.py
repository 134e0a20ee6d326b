"""HDF5 from anywhere, read without harm: no links out of the file, no data outside of it, nothing but numbers.

An array is described before it is read, so that whoever asks can compare its declared shape with the one expected:
a file of a kilobyte can declare an array of a terabyte.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import Message, WeightsError
from cnncli.networks.weights.hdf5_names import lists_apart, texts_of

if TYPE_CHECKING:
    import h5py

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_NAMES = 2**20
MAX_NAME_CHARACTERS = 1_000
MAX_OBJECTS = 200_000
MAX_CHUNK_ITEMS = 2**24
MAX_TEXT_BYTES = 800_000_000  # h5py takes twice as much while it reads
_HEAP_SIGNATURE = b"GCOL\x01\0\0\0"
# Deflate, shuffle, Fletcher's checksum, szip, n-bit, scale and offset, LZF: what h5py brings. Others are plug-ins.
_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, not yet read.

    Attributes:
        name: its place in the file.
        shape: as declared.
    """

    name: str
    shape: tuple[int, ...]
    dataset: h5py.Dataset

    def read(self) -> NDArray[np.float32]:
        """Its values; only to be called when `shape` is the expected one.

        Raises: WeightsError: the file is damaged at this place.
        """
        try:
            values = self.dataset[()]
        except (OSError, ValueError) as error:
            text = f"{self.name} cannot be read ({one_line(error)}): copy or download the file again"
            raise WeightsError(Message("weights-damaged", text, reason=one_line(error))) from error
        if _is_bfloat16(self.dataset):
            import ml_dtypes

            values = values.view(ml_dtypes.bfloat16)
        return np.asarray(values, np.float32)


@contextmanager
def open_hdf5(source: Path | BinaryIO) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading inside the block."""
    import h5py

    with h5py.File(source, "r") as file:
        yield file


def check_plain(path: Path) -> None:
    """Find a file to be groups and arrays of numbers alone, each array stored once, in one piece and in full.

    Such a file takes no more memory than it has bytes, whoever reads it. Keras writes no others.

    Raises: WeightsError: something else is in it.
    """
    import h5py

    with open_hdf5(path) as file:
        pending, seen = [file], {h5py.h5o.get_info(file.id).addr}
        while pending:
            group = pending.pop()
            for name in group:
                child = _linked(group, name)
                address = h5py.h5o.get_info(child.id).addr
                if address in seen or len(seen) > MAX_OBJECTS:
                    raise WeightsError(Message("weights-refused", f"{child.name} leads round in a circle: refused"))
                seen.add(address)
                if isinstance(child, h5py.Group):
                    pending.append(child)
                else:
                    _check_stored(array_in(group, name).dataset)


def _check_stored(dataset: h5py.Dataset) -> None:
    if dataset.chunks is not None or dataset.id.get_storage_size() != dataset.size * dataset.dtype.itemsize:
        raise WeightsError(Message("weights-refused", f"{dataset.name} declares more than is stored: refused"))


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5 and as long as it says; one that was cut off is not."""
    try:
        with open_hdf5(path):
            return True
    except OSError:
        return False


def group_in(group: h5py.Group, path: str) -> h5py.Group:
    """Return a group inside a group, reached by hard links only.

    Raises:
        KeyError: there is no such group.
        WeightsError: the path contains a soft or external link.
    """
    import h5py

    for name in filter(None, path.split("/")):
        group = _linked(group, name)
        if not isinstance(group, h5py.Group):
            raise KeyError(path)
    return group


def array_in(group: h5py.Group, name: str) -> StoredArray:
    """Return an array of numbers inside a group.

    Raises:
        KeyError: there is no such array.
        WeightsError: its data are outside of the file, or stored in a form that Keras never uses.
    """
    import h5py

    dataset = _linked(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise KeyError(name)
    if dataset.external or dataset.is_virtual:
        raise WeightsError(Message("weights-refused", f"{dataset.name} has its data in another file: refused"))
    if dataset.shape is None or not (dataset.dtype.kind in "fiu" or _is_bfloat16(dataset)):
        raise WeightsError(Message("weights-refused", f"{dataset.name} is not an array of numbers: refused"))
    chunk_items = int(np.prod(dataset.chunks or (0,), dtype=np.float64))
    if not _filters(dataset) <= _FILTERS or chunk_items > max(MAX_CHUNK_ITEMS, dataset.size):
        raise WeightsError(Message("weights-refused", f"{dataset.name} is packed as Keras never does: refused"))
    return StoredArray(dataset.name, tuple(dataset.shape), dataset)


def names_in(group: h5py.Group, attribute: str) -> list[str]:
    """Return the list of names in an attribute, empty if there is none.

    A long list is divided into `name0`, `name1` …, because HDF5 limits the size of an attribute.
    """
    if attribute in group.attrs:
        return _names(group, attribute)
    names: list[str] = []
    number = 0
    while f"{attribute}{number}" in group.attrs:
        names += _names(group, f"{attribute}{number}")
        number += 1
    return names


def name_in(group: h5py.Group, attribute: str) -> str | None:
    """One name in an attribute, None where it has none."""
    names = _names(group, attribute) if attribute in group.attrs else []
    return names[0] if len(names) == 1 else None


def one_line(error: BaseException) -> str:
    """Return the text of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def has_child(group: h5py.Group, name: str) -> bool:
    """Whether a group has something of this name; h5py's own `in` would follow a link to find out."""
    return bool(group.id.links.exists(name.encode("utf-8", "surrogateescape")))


def _linked(group: h5py.Group, name: str) -> Any:
    import h5py

    if not has_child(group, name):
        raise KeyError(name)
    if group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type != h5py.h5l.TYPE_HARD:
        raise WeightsError(
            Message("weights-refused", f"{group.name.rstrip('/')}/{name} is a link to somewhere else: refused")
        )
    return group[name]


def _names(group: h5py.Group, attribute: str) -> list[str]:
    import h5py

    declared = group.attrs.get_id(attribute)
    count = math.prod(declared.shape or ())
    if count == 0:
        return []
    text = h5py.check_string_dtype(declared.dtype)
    if text is None or count > MAX_NAMES:
        raise WeightsError(
            Message("weights-refused", f"{group.name} has a list of names as Keras never writes it: refused")
        )
    if text.length is None and count > 1 and count * _longest_text_in(group.file) > MAX_TEXT_BYTES:
        names = _names_apart(group, attribute, count)
    else:
        names = texts_of(group.attrs[attribute])
    if any(len(name) > MAX_NAME_CHARACTERS for name in names):
        raise WeightsError(
            Message(
                "weights-refused", f"{group.name} has a name of more than {MAX_NAME_CHARACTERS:,} characters: refused"
            )
        )
    return names


def _names_apart(group: h5py.Group, attribute: str, count: int) -> list[str]:
    """Names that take too much memory if the worst is true; of a large network saved with its model it is not."""
    names = lists_apart(Path(group.file.filename)).get((group.name, attribute), ())
    if len(names) != count:
        text = (
            f"{group.name} has {count:,} names that could fill the memory: refused; save the model again with "
            "model.save_weights('NAME.weights.h5')"
        )
        raise WeightsError(Message("weights-refused", text))
    return list(names)


def _longest_text_in(file: h5py.File) -> int:
    path = Path(file.filename)
    now = path.stat()
    return _longest_text(path, now.st_size, now.st_mtime_ns)


@lru_cache(maxsize=4)  # a file of a thousand layers has a thousand lists of names
def _longest_text(path: Path, _size: int, _mtime_ns: int) -> int:
    """Upper bound in bytes of a text of varying length: the largest of the file's heaps that hold such texts.

    A list of texts is a list of places in those heaps, so that a thousand names can be one long text a thousand times.
    Keras 3 writes the description of a model into the same heap as the names of its layers: the bound can be too high.
    (HDF5 file format specification, III.E, "Disk Format: Level 1E - Global Heap".)
    """
    longest = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(_HEAP_SIGNATURE)
        while at >= 0:
            declared = int.from_bytes(content[at + 8 : at + 16], "little")
            longest = max(longest, min(declared, len(content)))
            at = content.find(_HEAP_SIGNATURE, at + 1)
    return longest


def _filters(dataset: h5py.Dataset) -> set[int]:
    plan = dataset.id.get_create_plist()
    return {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}


def _is_bfloat16(dataset: h5py.Dataset) -> bool:
    """Keras writes bfloat16 as two bytes of no kind, and says so beside."""
    return dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2 and name_in(dataset, "dtype") == "bfloat16"
