"""Read PyTorch's legacy weights files without PyTorch.

The format is four pickles (magic number, version, machine, tensors), a pickle with the keys of the storages, and for
each storage its length (8 bytes, little-endian) and its values.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Tensor(NamedTuple):
    """Replacement for PyTorch's function with the same arguments that rebuilds a tensor."""

    storage: tuple[str, np.dtype[Any]]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool
    hooks: object


class _Unpickler(pickle.Unpickler):
    """Unpickler for dictionaries, numbers, strings and descriptions of tensors; refuses all other names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype[Any]]:
        _kind, dtype, key, *_ = pid
        return key, dtype


def read_tensors(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file by name, as read-only views of its bytes.

    The caller must have verified the file's digest: damaged data can raise any exception.
    """
    file = io.BytesIO(data)
    _magic, _version, _machine, tensors, keys = (_Unpickler(file).load() for _ in range(5))
    dtypes = dict(tensor.storage for tensor in tensors.values())
    storages = {key: file.read(int.from_bytes(file.read(8), "little") * dtypes[key].itemsize) for key in keys}
    arrays = {}
    for name, tensor in tensors.items():
        key, dtype = tensor.storage
        strides = [stride * dtype.itemsize for stride in tensor.strides]
        arrays[name] = np.ndarray(tensor.shape, dtype, storages[key], tensor.offset * dtype.itemsize, strides)
    return arrays
