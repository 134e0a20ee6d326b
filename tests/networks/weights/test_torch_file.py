"""Legacy torch weights files are read without torch, and a hostile file executes no code."""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.errors import WeightsError
from cnncli.networks.weights.torch_file import FORMAT_VERSION, MAGIC_NUMBER, read_tensors

MACHINE = {"protocol_version": 1001, "little_endian": True}


class _Named:
    """Pickled as a call of a function given by name, as in torch's own pickles and in hostile ones."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self.name, self.arguments = name, arguments


class _Storage:
    """Pickled as a persistent reference."""

    def __init__(self, *reference: Any) -> None:
        self.reference = reference


class _Name(str):
    """Pickled as a global name, `module name`."""


_PicklerInPython: Any = pickle._Pickler  # the one whose methods can be overridden


class _Pickler(_PicklerInPython):  # type: ignore[misc]
    """Pickles these three, although their names do not exist."""

    def persistent_id(self, obj: Any) -> Any:
        return obj.reference if isinstance(obj, _Storage) else None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Name):
            self.write(b"c" + "\n".join(obj.split(" ")).encode() + b"\n")
        elif isinstance(obj, _Named):
            self.save(_Name(obj.name))
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def _pickled(*things: Any) -> bytes:
    import io

    file = io.BytesIO()
    for thing in things:
        _Pickler(file, protocol=2).dump(thing)
    return file.getvalue()


def _storage(items: int = 6, key: str = "7", kind: str = "torch FloatStorage") -> _Storage:
    return _Storage("storage", _Name(kind), key, "cpu", items, None)


def _tensor(
    storage: Any, offset: int = 0, shape: tuple[Any, ...] = (2, 3), strides: tuple[Any, ...] = (3, 1)
) -> _Named:
    return _Named("torch._utils _rebuild_tensor_v2", storage, offset, shape, strides, False, OrderedDict())


def _file(tensors: Any, keys: Any = ("7",), values: bytes | None = None, machine: Any = None) -> bytes:
    """Return a file in torch's legacy format."""
    raw = np.arange(6, dtype="<f4").tobytes() if values is None else values
    head = _pickled(MAGIC_NUMBER, FORMAT_VERSION, machine or MACHINE, tensors, list(keys))
    return head + struct.pack("<q", 6) + raw


def test_tensors_come_back_with_their_values_and_strides() -> None:
    """Tensors that share a storage, one of them transposed by its strides, are read correctly."""
    tensors = {
        "a": _tensor(_storage()),
        "b": _tensor(_storage(), 0, (3, 2), (1, 3)),
        "c": _tensor(_storage(), 4, (), ()),
    }
    read = read_tensors(_file(tensors))
    np.testing.assert_array_equal(read["a"], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(read["b"], np.arange(6).reshape(2, 3).T)
    assert read["c"] == 4
    assert not read["a"].flags.writeable


@pytest.mark.parametrize(
    "make",
    [
        lambda ran: _file({"a": _Named("os system", f"touch {ran}")}),
        lambda ran: _file({"a": _Named("builtins eval", f"open({str(ran)!r}, 'w')")}),
        lambda ran: _file({"a": _Named("builtins getattr", 1, "real")}),
        lambda ran: _file({"a": _Named("numpy load", str(ran))}),
        lambda ran: _file({"a": _Named("torch load", str(ran))}),
        lambda ran: _file({"a": _Named("torch DoubleStorage")}),
        lambda ran: _file({"a": _Named("torch FloatStorage", 1)}),
        lambda ran: _file({"a": _tensor("no storage")}),
        lambda ran: _file({"a": _tensor(_storage(), -1)}),
        lambda ran: _file({"a": _tensor(_storage(), 0, (2**40,), (1,))}),
        lambda ran: _file({"a": _tensor(_storage(), 0, (2,), (-1,))}),
        lambda ran: _file({"a": _tensor(_storage(), 0, (2, 3), (3,))}),
        lambda ran: _file({"a": _tensor(_storage(), 0, (2.0,), (1,))}),
        lambda ran: _file({"a": _tensor(_storage(), 1)}),
        lambda ran: _file({"a": _tensor(_storage(), 0, (2, 3), (4, 1))}),
        lambda ran: _file({"a": _tensor(_storage())}, values=b"short"),
        lambda ran: _file({"a": _tensor(_storage())}, keys=("8",)),
        lambda ran: _file({"a": _tensor(_storage())}, keys=()),
        lambda ran: _file([1, 2]),
        lambda ran: _pickled(1, FORMAT_VERSION),
        lambda ran: _pickled(MAGIC_NUMBER, 1002),
        lambda ran: b"",
        lambda ran: b"\x89HDF\r\n\x1a\n",
    ],
)
def test_hostile_or_damaged_file_is_one_line_and_runs_nothing(make: Callable[[Path], bytes], tmp_path: Path) -> None:
    """Only three names are resolved, and no tensor may extend beyond its storage."""
    with pytest.raises(WeightsError) as error:
        read_tensors(make(tmp_path / "ran"))
    assert error.value.code == "weights-damaged"
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()


def test_replacement_of_torch_cannot_be_changed_by_a_pickle() -> None:
    """The BUILD instruction, which sets attributes of an object, cannot change the replacement of torch."""
    for name in ("torch._utils _rebuild_tensor_v2", "torch FloatStorage", "collections OrderedDict"):
        build = b"\x80\x02c" + "\n".join(name.split(" ")).encode() + b"\n}X\x08\x00\x00\x00__call__K\x01sb."
        with pytest.raises(WeightsError):
            read_tensors(_pickled(MAGIC_NUMBER, FORMAT_VERSION, MACHINE) + build)
    test_tensors_come_back_with_their_values_and_strides()
