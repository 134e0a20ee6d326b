"""Torch's legacy weight files are read without torch."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.networks.weights.torch_file import read_tensors


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
    file = io.BytesIO()
    for thing in things:
        _Pickler(file, protocol=2).dump(thing)
    return file.getvalue()


def _tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> _Named:
    storage = _Storage("storage", _Name("torch FloatStorage"), "7", "cpu", 6, None)
    return _Named("torch._utils _rebuild_tensor_v2", storage, offset, shape, strides, False, OrderedDict())


def _file(tensors: Any) -> bytes:
    """Return a file in torch's legacy format."""
    head = _pickled(0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, tensors, ["7"])
    return head + struct.pack("<q", 6) + np.arange(6, dtype="<f4").tobytes()


def test_tensors_come_back_with_their_values_and_strides() -> None:
    """Tensors that share a storage, one of them transposed by its strides, are read correctly."""
    tensors = {
        "a": _tensor(0, (2, 3), (3, 1)),
        "b": _tensor(0, (3, 2), (1, 3)),
        "c": _tensor(4, (), ()),
    }
    read = read_tensors(_file(tensors))
    np.testing.assert_array_equal(read["a"], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(read["b"], np.arange(6).reshape(2, 3).T)
    assert read["c"] == 4
    assert not read["a"].flags.writeable


def test_other_names_are_not_resolved(tmp_path: Path) -> None:
    """A pickle can name any function of any module."""
    with pytest.raises(pickle.UnpicklingError, match=r"os\.system is not allowed"):
        read_tensors(_file({"a": _Named("os system", f"touch {tmp_path / 'ran'}")}))
    assert not (tmp_path / "ran").exists()
