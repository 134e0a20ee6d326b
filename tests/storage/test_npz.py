"""Arrays are read as NumPy wrote them; a file that declares more data than it contains is refused."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from cnncli.storage.npz import read_arrays


def test_arrays_are_read(tmp_path: Path) -> None:
    """Names with slashes, all dtypes of checkpoints, both memory orders and empty arrays are read correctly."""
    arrays = {
        "moved/a/0": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 4)),
        "seed": np.array([1, 2**32 - 1], np.uint32),
        "flags": np.array([True, False]),
    }
    np.savez(tmp_path / "a.npz", **arrays)

    found = read_arrays(tmp_path / "a.npz")

    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable


def test_bfloat16_is_read_as_by_numpy(tmp_path: Path) -> None:
    """bfloat16 arrays are read as NumPy reads them, as two bytes without a type."""
    np.savez(tmp_path / "a.npz", a=np.ones(3, ml_dtypes.bfloat16))

    with np.load(tmp_path / "a.npz") as there:
        np.testing.assert_array_equal(read_arrays(tmp_path / "a.npz")["a"], there["a"])


def _npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _header(descr: str, shape: str) -> str:
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    "data",
    [
        _npy(_header("|O", "(1,)"), b"\x80\x02."),
        _npy(_header("<f4", "(1000000000000000,)"), bytes(8)),
        _npy(_header("<f4", "(3,)"), bytes(8)),
        _npy(_header("|V0", "(1000000000000000000,)")),
        _npy(_header("<f4", "(-1,)"), bytes(8)),
        _npy("__import__('os').system('true')"),
        _npy("[" * 100),
        b"\x80\x02.",
        b"",
    ],
)
def test_hostile_array_is_a_value_error(data: bytes, tmp_path: Path) -> None:
    """A hostile array is a ValueError; no memory is allocated for declared sizes, and nothing is unpickled."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", data)

    with pytest.raises(ValueError, match=r"^a\.npy "):
        read_arrays(tmp_path / "a.npz")


def test_compressed_and_foreign_entries_are_value_errors(tmp_path: Path) -> None:
    """Compressed entries, and entries that are not arrays, are ValueErrors."""
    np.savez_compressed(tmp_path / "packed.npz", a=np.zeros(100))
    with zipfile.ZipFile(tmp_path / "foreign.npz", "w") as archive:
        archive.writestr("a.txt", "x")

    for name in ("packed.npz", "foreign.npz"):
        with pytest.raises(ValueError, match="not an uncompressed array"):
            read_arrays(tmp_path / name)


def test_a_file_that_is_not_an_archive_is_a_value_error(tmp_path: Path) -> None:
    """A `.npy` file with a single array is a ValueError."""
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    (tmp_path / "a.npz").write_bytes(file.getvalue())

    with pytest.raises(ValueError, match="not a zip file"):
        read_arrays(tmp_path / "a.npz")
