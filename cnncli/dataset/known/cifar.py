"""CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html): the binary and the Python version.

A record of the binary version has one label (CIFAR-10) or two, coarse and fine (CIFAR-100), and 3,072 values: 32 × 32
red, then green, then blue. A file of the Python version is a pickle of a dictionary with an array of such values.
"""

from __future__ import annotations

import io
import pickle
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.datasets import DatasetInfo
from cnncli.dataset.known.images import KnownImage, damaged, of_arrays
from cnncli.dataset.known.sources import Files
from cnncli.errors import DataError, Message
from cnncli.storage.zips import ARCHIVE_ERRORS

MOST_BYTES = 2**28
"""Maximum size of a file; the training images of CIFAR-100 have 155 MB."""

_NAMES = {
    10: re.compile(r"(data_batch_[1-5]|test_batch)(\.bin)?"),
    100: re.compile(r"(train|test)(\.bin)?"),
}
_SIDE = 32
_VALUES = 3 * _SIDE**2

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Values of shape (n, 3072) and labels of shape (n,)."""


def read(files: Files, info: DatasetInfo) -> list[KnownImage]:
    """Return the images of all batches, numbered through train and test.

    Raises:
        DataError: A batch is missing or damaged.
    """
    n_classes = len(info.classes)
    batches: dict[str, str] = {}
    for name in sorted(files):
        if match := _NAMES[n_classes].fullmatch(name.rpartition("/")[2]):
            batches.setdefault(match[1], name)
    expected = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"] if n_classes == 10 else ["train", "test"]
    missing = [name for name in expected if name not in batches]
    if len(missing) == len(expected):
        return []
    if missing:
        text = f"{info.title}: files are missing: {', '.join(missing)}"
        raise DataError(Message("data-prepare-missing-file", text, missing=missing))
    images: list[KnownImage] = []
    counts = {"train": 0, "test": 0}
    for name in expected:
        split = "test" if name.startswith("test") else "train"
        values, labels = _read_batch(files, batches[name], n_classes)
        pixels = np.ascontiguousarray(values.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))
        images += of_arrays(info, batches[name], split, pixels, labels, counts[split])
        counts[split] += len(pixels)
    return images


def _read_batch(files: Files, name: str, n_classes: int) -> Batch:
    try:
        data = files[name](MOST_BYTES)
        return parse_binary(data, n_classes) if name.endswith(".bin") else parse_pickle(data)
    except ARCHIVE_ERRORS as error:
        raise damaged(name, str(error)) from error


def parse_binary(data: bytes, n_classes: int) -> Batch:
    """Return the values and (fine) labels of a file of the binary version.

    Raises:
        ValueError: The file does not consist of whole records.
    """
    n_labels = 1 if n_classes == 10 else 2
    if not data or len(data) % (n_labels + _VALUES):
        raise ValueError(f"{len(data):,} bytes are not a number of records of {n_labels + _VALUES:,} bytes")
    records = np.frombuffer(data, np.uint8).reshape(-1, n_labels + _VALUES)
    return records[:, n_labels:], records[:, n_labels - 1].astype(np.int64)


def parse_pickle(data: bytes) -> Batch:
    """Return the values and (fine) labels of a file of the Python version, without running any code of the pickle.

    Raises:
        ValueError: The file is not such a pickle, or contains anything but arrays of bytes, lists and numbers.
    """
    try:
        found = _BatchUnpickler(io.BytesIO(data), encoding="bytes").load()
        batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in found.items()}
        labels = np.array(batch.get("labels", batch.get("fine_labels")), np.int64)
        values = batch["data"].values()
    except Exception as error:  # a hostile pickle can make the unpickler raise anything
        raise ValueError(f"it is not a pickle of images and labels ({type(error).__name__}: {error})") from error
    if labels.ndim != 1 or values.ndim != 2 or values.shape[1] != _VALUES:
        raise ValueError(f"its array has the shape {values.shape}, expected (n, {_VALUES})")
    return values, labels


class _Array:
    """The state of a pickled NumPy array. NumPy's own constructor would allocate whatever the pickle says."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def values(self) -> NDArray[np.uint8]:
        """Return the array; only unsigned bytes are accepted, in the order of C or Fortran."""
        _, shape, kind, is_fortran, data = self.state
        if kind.name not in (b"u1", "u1"):
            raise ValueError("its array does not consist of unsigned bytes")
        return np.frombuffer(data, np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _Kind:
    """The name of a pickled `numpy.dtype`."""

    def __init__(self, name: object = None, *_: object) -> None:
        self.name = name

    def __setstate__(self, _: object) -> None:
        """Ignore the byte order, which bytes do not have."""


class _BatchUnpickler(pickle.Unpickler):
    """Unpickler that knows four names, each of which it replaces by harmless code of this module."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement of a name, or raise UnpicklingError."""
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return _Array
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return _Array if name == "ndarray" else _Kind
        if (module, name) == ("_codecs", "encode"):  # bytes in protocol 2, from Python 3
            return _encode
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")


def _encode(text: str, _: object = None) -> bytes:
    return text.encode("latin-1")
