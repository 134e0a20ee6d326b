"""Reader of torch's legacy weight files, without torch and without trusting pickle.

The format: four pickles (magic number, version, machine, tensors), a pickle with the keys of the storages, then each
storage as its length (8 bytes, little-endian) and its raw values. The unpickler knows three names and makes plain
descriptions of tensors; every size is checked before it is used.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import Message, WeightsError, reason_of

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
FORMAT_VERSION = 1001
_DTYPES: Mapping[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    items: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _TensorMaker:
    """Replacement for torch's function that makes a tensor; without state that a pickle could change."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, _Storage) or len(shape) != len(strides):
            raise pickle.UnpicklingError("invalid description of a tensor")
        if not all(type(number) is int and 0 <= number < 2**31 for number in numbers):
            raise pickle.UnpicklingError("invalid description of a tensor")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Unpickler of dictionaries, numbers, strings and descriptions of tensors; refuses all other names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _TensorMaker()
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, type_name, key, _location, items, _view = pid
        if kind != "storage" or type_name not in _DTYPES or type(items) is not int or items < 0:
            raise pickle.UnpicklingError("invalid description of a storage")
        return _Storage(str(key), _DTYPES[type_name], items)


def read_tensors(data: bytes) -> Mapping[str, NDArray[Any]]:
    """Return the tensors of a file by name, as read-only views of its bytes.

    Raises:
        WeightsError: The data is anything but a file in torch's legacy format with float32 and int64 tensors.
    """
    try:
        return _read(io.BytesIO(data), len(data))
    except Exception as error:  # a damaged pickle can raise anything
        raise WeightsError(
            Message("weights-damaged", f"PyTorch weights cannot be read ({reason_of(error)})", reason=reason_of(error))
        ) from error


def _read(file: io.BytesIO, size: int) -> dict[str, NDArray[Any]]:
    if _Unpickler(file).load() != MAGIC_NUMBER or _Unpickler(file).load() != FORMAT_VERSION:
        raise ValueError("not in torch's format 1001")
    machine, tensors, keys = _Unpickler(file).load(), _Unpickler(file).load(), _Unpickler(file).load()
    if not machine["little_endian"]:
        raise ValueError("written on a big-endian machine")
    described = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, _Tensor)}
    storages = {tensor.storage.key: tensor.storage for tensor in described.values()}
    values = {key: _read_storage(file, storages[key], size) for key in keys}
    return {name: _slice(values[tensor.storage.key], tensor) for name, tensor in described.items()}


def _read_storage(file: io.BytesIO, storage: _Storage, size: int) -> NDArray[Any]:
    (items,) = struct.unpack("<q", file.read(8))
    if items != storage.items or items * storage.dtype.itemsize > size - file.tell():
        raise ValueError(f"storage {storage.key} is longer than the file")
    return np.frombuffer(file.read(items * storage.dtype.itemsize), storage.dtype)


def _slice(values: NDArray[Any], tensor: _Tensor) -> NDArray[Any]:
    """Return the part of a storage that is a tensor, never beyond the storage's end."""
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, values.dtype)
    if last >= values.size:
        raise ValueError(f"a tensor of shape {tensor.shape} is longer than its storage")
    strides = [stride * values.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides, writeable=False)
