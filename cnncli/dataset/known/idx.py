"""MNIST and its relatives: IDX files (http://yann.lecun.com/exdb/mnist/), packed or unpacked, and Keras's `.npz`.

An IDX file is a big-endian header (two zero bytes, the type, the number of axes, a 32-bit length for each) and values.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import struct

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.datasets import DatasetInfo
from cnncli.dataset.known.images import KnownImage, damaged, of_arrays
from cnncli.dataset.known.published import warn_unless_published
from cnncli.dataset.known.sources import Files
from cnncli.errors import DataError, Message
from cnncli.storage.download import algorithm_of
from cnncli.storage.zips import ARCHIVE_ERRORS

MOST_BYTES = 2**27
"""Maximum size of a file; that of 60,000 images has 47 MB."""

_NAME = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?", re.IGNORECASE)
_ARRAY_NAME = re.compile(r"([xy])_(train|test)\.npy")
_SPLITS = {"train": "train", "t10k": "test", "test": "test"}
_KINDS = {"images": "images", "labels": "labels", "x": "images", "y": "labels"}
_UNSIGNED_BYTE = 8


def read(files: Files, info: DatasetInfo) -> list[KnownImage]:
    """Return the images of the train and test files.

    Raises:
        DataError: A file is missing or damaged.
    """
    names = {key: name for name in sorted(files, reverse=True) if (key := _split_and_kind(name))}
    missing = [
        key for split in ("train", "test") for kind in ("images", "labels") if (key := (split, kind)) not in names
    ]
    if len(missing) == 4:
        return []
    if missing:
        listed = ", ".join(f"{kind} of {split}" for split, kind in missing)
        raise DataError(
            Message("data-prepare-missing-file", f"{info.title}: files are missing: {listed}", missing=missing)
        )
    arrays = {key: _read_array(files, name, info) for key, name in names.items()}
    images = []
    for split in ("train", "test"):
        pixels, labels = arrays[split, "images"], arrays[split, "labels"]
        if pixels.ndim != 3 or labels.ndim != 1:
            raise damaged(
                names[split, "images"], f"{pixels.ndim} axes and {labels.ndim} of the labels, expected 3 and 1"
            )
        images += of_arrays(info, names[split, "images"], split, pixels, labels)
    return images


def _split_and_kind(path: str) -> tuple[str, str] | None:
    """Return what a file holds, e.g. ("train", "labels"), or None for other files."""
    name = path.rpartition("/")[2]
    if match := _NAME.fullmatch(name):
        return _SPLITS[match[1].lower()], _KINDS[match[2].lower()]
    if match := _ARRAY_NAME.fullmatch(name):
        return _SPLITS[match[2]], _KINDS[match[1]]
    return None


def _read_array(files: Files, name: str, info: DatasetInfo) -> NDArray[np.uint8]:
    try:
        data = files[name](MOST_BYTES)
        if name.endswith(".npy"):
            array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
            return array.astype(np.uint8, casting="safe")
        if name.lower().endswith(".gz"):
            data = _gunzip(data)
        stem = name.rpartition("/")[2].lower().removesuffix(".gz")
        if (digest := info.known_hashes.get(stem)) is not None:
            warn_unless_published(info, name, hashlib.new(algorithm_of(digest), data).hexdigest() == digest)
        return parse_idx(data)
    except (TypeError, MemoryError, *ARCHIVE_ERRORS) as error:  # a header can declare more than there is
        raise damaged(name, str(error)) from error


def parse_idx(data: bytes) -> NDArray[np.uint8]:
    """Return the array of unsigned bytes in an IDX file.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9])).tolist()
    [7, 9]

    Raises:
        ValueError: The file is not one, or has fewer or more values than its header says.
    """
    if len(data) < 4 or data[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or not 1 <= data[3] <= 4:
        raise ValueError("it is not an IDX file of unsigned bytes")
    n_axes = data[3]
    shape = struct.unpack_from(f">{n_axes}I", data, 4)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * n_axes)
    if len(values) != (n := int(np.prod(shape, dtype=object))):
        raise ValueError(f"it has {len(values):,} values, its header says {n:,}")
    return values.reshape(shape)


def _gunzip(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        unpacked = file.read(MOST_BYTES + 1)
    if len(unpacked) > MOST_BYTES:
        raise ValueError(f"it unpacks to more than {MOST_BYTES:,} bytes")
    return unpacked
