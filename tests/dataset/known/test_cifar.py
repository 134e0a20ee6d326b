"""CIFAR-10 and CIFAR-100 in their binary and Python versions."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.catalogue.datasets import DATASETS
from cnncli.dataset.known.cifar import parse_binary, parse_pickle
from cnncli.errors import DataError
from tests.dataset.known.making import arrays, cifar_binary, cifar_python, pixels_by_name, prepared, tarred

CLASSES = {"cifar10": 10, "cifar100": 100}
FORMS: dict[str, Callable[..., dict[str, bytes]]] = {"binary": cifar_binary, "python": cifar_python}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CLASSES)
def test_both_versions_give_the_same_images(form: str, name: str, tmp_path: Path) -> None:
    """Row 174. Archives of both versions give color images, numbered through the batches, with their fine labels."""
    classes = CLASSES[name]
    data = arrays(classes, classes, classes, (32, 32, 3))
    archive = tmp_path / f"{name}-{form}.tar.gz"
    archive.write_bytes(tarred({**FORMS[form](data, classes), "cifar/readme.html": b"x"}))
    found = pixels_by_name(prepared(name, archive, tmp_path / "out"))
    names = DATASETS[name].classes
    expected = {
        f"{split}/{names[label]}/{k:05}": image
        for split, (pixels, labels) in data.items()
        for k, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True))
    }
    assert found.keys() == expected.keys()
    for path, pixels in expected.items():
        np.testing.assert_array_equal(found[path], pixels)


def test_class_names_are_the_published_ones() -> None:
    """CIFAR-10 has its ten classes in the published order, and CIFAR-100 a hundred in alphabetical order."""
    assert DATASETS["cifar10"].classes[2:4] == ("bird", "cat")
    fine = DATASETS["cifar100"].classes
    assert len(set(fine)) == 100
    assert list(fine) == sorted(fine)


@pytest.mark.parametrize("protocol", range(5))
def test_pickles_of_old_and_new_protocols_are_read(protocol: int) -> None:
    """Pickles of protocols 0 to 4 are read, those in Fortran's order too."""
    data = arrays(10, 10, 10, (32, 32, 3))
    expected = parse_binary(cifar_binary(data, 100)["cifar-binary/test.bin"], 100)
    found = parse_pickle(cifar_python(data, 100, protocol)["cifar-python/test"])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    turned = {"data": np.asfortranarray(expected[0]), "labels": expected[1].tolist()}
    np.testing.assert_array_equal(parse_pickle(pickle.dumps(turned, protocol))[0], expected[0])


class Hostile:
    """An object whose pickle calls a function."""

    def __init__(self, function: Any, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def test_pickles_run_no_code_and_allocate_nothing(tmp_path: Path) -> None:
    """A pickle that calls a function, or declares a huge array, is refused without doing either."""
    target = tmp_path / "written"
    hostile = [
        {"data": Hostile(target.touch)},
        {"data": Hostile(eval, "1"), "labels": []},
        {"data": Hostile(np.empty, (2**40,)), "labels": [1]},
        {"data": np.array([object()], dtype=object), "labels": [1]},
        {"data": np.zeros((1, 3072), np.float32), "labels": [1]},
        ["data"],
    ]
    for content in hostile:
        with pytest.raises(ValueError, match="pickle of images"):
            parse_pickle(pickle.dumps(content))
    assert not target.exists()
    for data in (b"", b"garbage", b"\x80\x02X\xff\xff\xff\x7f"):
        with pytest.raises(ValueError, match="pickle of images"):
            parse_pickle(data)


def test_damaged_and_missing_batches_are_refused(tmp_path: Path) -> None:
    """A batch that does not consist of whole records is named, and missing batches are listed."""
    files = cifar_binary(arrays(10, 10, 10, (32, 32, 3)), 10)
    broken = "cifar-binary/data_batch_3.bin"
    with pytest.raises(DataError) as error:
        prepared("cifar10", {**files, broken: files[broken][:-1]}, tmp_path / "a" / "out")
    assert (error.value.code, error.value.facts["path"]) == ("data-prepare-damaged", broken)
    del files[broken]
    with pytest.raises(DataError) as error:
        prepared("cifar10", files, tmp_path / "b" / "out")
    assert (error.value.code, error.value.facts["missing"]) == ("data-prepare-missing-file", ["data_batch_3"])
