"""MNIST and Fashion-MNIST in their published forms."""

from __future__ import annotations

import gzip
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from cnncli.catalogue.datasets import DATASETS
from cnncli.dataset.known.idx import parse_idx
from cnncli.errors import DataError
from tests.dataset.known.making import Arrays, arrays, idx, idx_files, npz, pixels_by_name, prepared

DEBIAN = Path("/usr/share/datasets/fashion-mnist")

FORMS: dict[str, Callable[[Arrays], dict[str, bytes]]] = {
    "packed": idx_files,
    "unpacked": lambda data: idx_files(data, packed=False),
    "both": lambda data: {**idx_files(data), **idx_files(data, packed=False)},
    "Keras's": lambda data: {"mnist.npz": npz(data)},
    "names with a dot": lambda data: {
        name.replace("-idx", ".idx"): file for name, file in idx_files(data, packed=False).items()
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images(form: str, tmp_path: Path) -> None:
    """Row 173. Every form gives the same pixels, lossless, in folders of split and class, named by their numbers."""
    data = arrays()
    found = pixels_by_name(prepared("mnist", FORMS[form](data), tmp_path / "out"))
    expected = {
        f"{split}/{label}/{k:05}": image
        for split, (pixels, labels) in data.items()
        for k, (image, label) in enumerate(zip(pixels, labels, strict=True))
    }
    assert found.keys() == expected.keys()
    for name, pixels in expected.items():
        np.testing.assert_array_equal(found[name], pixels)


def test_classes_of_fashion_mnist_have_their_names(tmp_path: Path) -> None:
    """The folders of Fashion-MNIST are named after the articles, in the published order of the labels."""
    data = arrays(10, 10)
    found = pixels_by_name(prepared("fashion-mnist", idx_files(data), tmp_path / "out"))
    np.testing.assert_array_equal(found["train/ankle-boot/00009"], data["train"][0][9])
    np.testing.assert_array_equal(found["test/t-shirt-top/00000"], data["test"][0][0])


def test_an_idx_file_is_parsed_as_its_header_says() -> None:
    """An IDX file has big-endian lengths and values in row-major order."""
    values = np.arange(2 * 300, dtype=np.int64).reshape(2, 300).astype(np.uint8)
    np.testing.assert_array_equal(parse_idx(idx(values)), values)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda data: data[:-1],
    "too long": lambda data: data + b"\0",
    "of another type": lambda data: data[:2] + b"\x0d" + data[3:],
    "empty": lambda data: b"",
    "with a false length": lambda data: data[:4] + b"\xff\xff\xff\xff" + data[8:],
    "not packed": lambda data: b"\x1f\x8b" + data,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_refused(damage: str, tmp_path: Path) -> None:
    """A file that is not as its header says is an error that names it, and nothing is written."""
    name = "train-labels-idx1-ubyte"
    files = idx_files(arrays(), packed=False)
    broken = DAMAGE[damage](files.pop(name))
    with pytest.raises(DataError) as error:
        prepared("mnist", {**files, name: broken}, tmp_path / "out")
    assert (error.value.code, error.value.facts["path"]) == ("data-prepare-damaged", name)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A packed file of gigabytes of zeros is refused."""
    files = idx_files(arrays())
    files["t10k-images-idx3-ubyte.gz"] = gzip.compress(bytes(2**27 + 1), 9)
    with pytest.raises(DataError) as error:
        prepared("mnist", files, tmp_path / "out")
    assert error.value.code == "data-prepare-damaged"
    assert "134,217,728" in str(error.value.facts["reason"])


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A label beyond the classes, and a number of labels other than that of the images, are errors."""
    data = dict(arrays())
    pixels, labels = data["test"]
    for wrong in (labels + 1, labels[:-1]):
        with pytest.raises(DataError) as error:
            prepared("mnist", idx_files({**data, "test": (pixels, wrong)}), tmp_path / "out")
        assert error.value.code == "data-prepare-damaged"


def test_missing_files_are_listed(tmp_path: Path) -> None:
    """All missing files are reported at once; a folder without any of them has no images of the dataset."""
    files = idx_files(arrays())
    del files["t10k-images-idx3-ubyte.gz"], files["train-labels-idx1-ubyte.gz"]
    with pytest.raises(DataError) as error:
        prepared("mnist", files, tmp_path / "out")
    assert error.value.code == "data-prepare-missing-file"
    assert error.value.facts["missing"] == [("train", "labels"), ("test", "images")]
    with pytest.raises(DataError) as error:
        prepared("mnist", {"readme.txt": b""}, tmp_path / "other" / "out")
    assert error.value.code == "data-prepare-nothing-found"


def test_files_other_than_the_published_ones_are_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file with a published name and another hash is a warning, packed, unpacked or in an archive."""
    files = {**idx_files(arrays(), packed=False), "mnist.npz": npz(arrays())}
    prepared("mnist", files, tmp_path / "out")
    names = {str(record.msg.facts["path"]) for record in caplog.records if record.levelno == logging.WARNING}
    assert names == {*DATASETS["mnist"].hashes}


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_fashion_mnist_of_debian(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Row 177. Debian's files have the published hashes and 7,000 images of each class, of which some are taken."""
    found = pixels_by_name(prepared("fashion-mnist", DEBIAN, tmp_path / "out", limit=3))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    folders = [f"{split}/{label}" for split in ("train", "test") for label in DATASETS["fashion-mnist"].classes]
    assert Counter(name.rpartition("/")[0] for name in found) == dict.fromkeys(folders, 3)
    name, pixels = next(item for item in found.items() if item[0].startswith("train/"))
    with gzip.open(DEBIAN / "train-images-idx3-ubyte.gz") as file:
        every = np.frombuffer(file.read(), np.uint8, offset=16).reshape(60_000, 28, 28)
    np.testing.assert_array_equal(pixels, every[int(name.rpartition("/")[2])])


def test_an_array_that_declares_too_much_is_damaged(tmp_path: Path) -> None:
    """A header of 800 TB in Keras's file is an error about the file, not about the memory of the machine."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (999999999, 99999, 9)}"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(50)
    (tmp_path / "mnist.npz").write_bytes(npz(arrays()))
    with ZipFile(tmp_path / "mnist.npz") as archive:
        others = {name: archive.read(name) for name in archive.namelist() if name != "x_train.npy"}
    with ZipFile(tmp_path / "mnist.npz", "w") as archive:
        for name, data in {**others, "x_train.npy": content}.items():
            archive.writestr(name, data)

    with pytest.raises(DataError) as error:
        prepared("mnist", tmp_path / "mnist.npz", tmp_path / "out")
    assert (error.value.code, error.value.facts["path"]) == ("data-prepare-damaged", "x_train.npy")
