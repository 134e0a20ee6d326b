"""Zip archives, and the arrays in them, are read within limits, whatever sizes they declare."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from cnncli.storage import zips as module
from cnncli.storage.zips import ARCHIVE_ERRORS, ArchiveRefusedError, most_unpacked, open_zip, read_arrays, read_entry

ZEROS = bytes(5_000_000)


def _zip(path: Path, method: int = zipfile.ZIP_DEFLATED, data: bytes = ZEROS) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a", data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_entry_is_read(method: int, tmp_path: Path) -> None:
    """Stored and deflated entries up to the limit are read."""
    with open_zip(_zip(tmp_path / "x.zip", method)) as archive:
        assert read_entry(archive, archive.getinfo("a"), len(ZEROS)) == ZEROS


def test_an_entry_that_declares_more_than_allowed_is_not_unpacked(tmp_path: Path) -> None:
    """The error states the size of the entry."""
    with open_zip(_zip(tmp_path / "x.zip")) as archive, pytest.raises(ArchiveRefusedError) as error:
        read_entry(archive, archive.getinfo("a"), len(ZEROS) - 1)
    assert str(error.value) == "a would unpack to 5,000,000 bytes"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_a_limit_are_refused(method: int, tmp_path: Path) -> None:
    """Compression methods that Python can only unpack as a whole are refused."""
    with (
        open_zip(_zip(tmp_path / "x.zip", method)) as archive,
        pytest.raises(ArchiveRefusedError, match="is packed by"),
    ):
        read_entry(archive, archive.getinfo("a"), len(ZEROS))


def test_an_entry_of_a_false_size_gives_no_more_than_it_declares(tmp_path: Path) -> None:
    """An entry with a false size yields at most its declared size, and its checksum does not match."""
    data = bytearray(_zip(tmp_path / "x.zip").read_bytes())
    data[22:26] = struct.pack("<I", 1000)
    listed = data.index(b"PK\x01\x02")
    data[listed + 24 : listed + 28] = struct.pack("<I", 1000)
    (tmp_path / "x.zip").write_bytes(data)
    with open_zip(tmp_path / "x.zip") as archive, pytest.raises(zipfile.BadZipFile, match="Bad CRC-32"):
        read_entry(archive, archive.getinfo("a"), 10_000)


def test_a_list_of_too_many_entries_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive with too many entries is refused before its directory, which would fill the memory, is read."""
    monkeypatch.setattr(module, "MOST_LIST_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number in range(100):
            archive.writestr(f"{number}", b"")
    with pytest.raises(ArchiveRefusedError, match="its list of entries has"), open_zip(tmp_path / "x.zip"):
        pass


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x03\x04" * 10])
def test_a_file_that_is_not_a_zip_is_an_archive_error(data: bytes, tmp_path: Path) -> None:
    """A file that is not a zip raises one of the archive errors."""
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(ARCHIVE_ERRORS), open_zip(tmp_path / "x.zip"):
        pass


def test_small_archives_may_expand_more_than_large_ones() -> None:
    """The allowed expansion is a hundredfold below five megabytes, and approaches fourfold for large archives."""
    assert most_unpacked(1000) == 100_000
    assert most_unpacked(10**10) == pytest.approx(4 * 10**10, rel=0.02)


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
