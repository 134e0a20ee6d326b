"""Reader of PyTorch's legacy weights files, without PyTorch.

The format: four pickles (magic number, version, machine, tensors), a pickle with the keys of the storages, then each
storage as its length (8 bytes, little-endian) and its values.
"""

from __future__ import annotations

import io
import pickle
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


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Replacement for PyTorch's function of the same arguments, which makes a tensor."""

    storage: tuple[str, np.dtype[Any]]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool
    hooks: object


class _Unpickler(pickle.Unpickler):
    """Unpickler of dictionaries, numbers, strings and descriptions of tensors; refuses all other names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype[Any]]:
        _kind, type_name, key, *_ = pid
        return key, _DTYPES[type_name]


def read_tensors(data: bytes) -> Mapping[str, NDArray[Any]]:
    """Return the tensors of a file by name, as read-only views of its bytes.

    Raises:
        WeightsError: The data is not a file in PyTorch's legacy format with float32 and int64 tensors.
    """
    try:
        return _read(io.BytesIO(data))
    except Exception as error:  # a damaged pickle can raise anything
        text = f"PyTorch weights cannot be read ({reason_of(error)})"
        raise WeightsError(Message("weights-damaged", text, reason=reason_of(error))) from error


def _read(file: io.BytesIO) -> dict[str, NDArray[Any]]:
    magic, version, _machine, tensors, keys = (_Unpickler(file).load() for _ in range(5))
    if (magic, version) != (MAGIC_NUMBER, FORMAT_VERSION):
        raise ValueError("not in PyTorch's format 1001")
    dtypes = dict(tensor.storage for tensor in tensors.values())
    storages = {}
    for key in keys:
        n_bytes = int.from_bytes(file.read(8), "little") * dtypes[key].itemsize
        storages[key] = file.read(n_bytes)
    return {name: _as_array(tensor, storages[tensor.storage[0]]) for name, tensor in tensors.items()}


def _as_array(tensor: _Tensor, storage: bytes) -> NDArray[Any]:
    """Return a tensor as a view of its storage; NumPy refuses one that reaches beyond."""
    dtype = tensor.storage[1]
    strides = [stride * dtype.itemsize for stride in tensor.strides]
    return np.ndarray(tensor.shape, dtype, storage, tensor.offset * dtype.itemsize, strides)
