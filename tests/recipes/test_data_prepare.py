"""`cnncli data prepare`: limits, the draw of validation, copies, and a folder that is complete or absent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cnncli.errors import DataError
from tests.dataset.known.making import arrays, idx_files, pixels_by_name, prepared


def counts(folder: Path) -> dict[str, int]:
    """Return the number of images of each split and class."""
    return dict(Counter(name.rpartition("/")[0] for name in pixels_by_name(folder)))


def test_a_limit_takes_some_images_of_each_class(tmp_path: Path) -> None:
    """A limit takes images of each class and split, drawn with the seed and each a part of those of a higher limit."""
    files = idx_files(arrays(100, 50))
    few = prepared("mnist", files, tmp_path / "few", limit=2)
    assert set(counts(few).values()) == {2}
    assert len(counts(few)) == 20
    more = prepared("mnist", files, tmp_path / "more", limit=4)
    other = prepared("mnist", files, tmp_path / "other", limit=2, seed=1)
    assert pixels_by_name(few).keys() < pixels_by_name(more).keys()
    assert pixels_by_name(few).keys() != pixels_by_name(other).keys()


@pytest.mark.parametrize("validation", [0.2, 20])
def test_validation_is_drawn_from_each_class_of_train(validation: float, tmp_path: Path) -> None:
    """A fraction or number of validation images is taken from train, the same of each class; test stays as it is."""
    files = idx_files(arrays(100, 20))
    found = counts(prepared("mnist", files, tmp_path / "out", validation=validation))
    sizes = {"train": 8, "validation": 2, "test": 2}
    assert found == {f"{split}/{label}": n for split, n in sizes.items() for label in range(10)}
    plain = pixels_by_name(prepared("mnist", files, tmp_path / "plain"))
    drawn = pixels_by_name(tmp_path / "out")
    assert {name.replace("validation", "train") for name in drawn} == plain.keys()
    other = pixels_by_name(prepared("mnist", files, tmp_path / "other", validation=validation, seed=1))
    assert drawn.keys() != other.keys()


def test_validation_cannot_take_all_of_train(tmp_path: Path) -> None:
    """As many validation images as there are training images are refused."""
    with pytest.raises(DataError) as error:
        prepared("mnist", idx_files(arrays(100, 20)), tmp_path / "out", validation=100)
    assert (error.value.code, error.value.facts["received"]) == ("data-prepare-too-few", 100)
    assert not (tmp_path / "out").exists()


def test_test_stays_as_published_and_train_loses_its_copies(tmp_path: Path) -> None:
    """Images of train whose pixels test contains are left out of train; copies within train stay in one split."""
    data = dict(arrays(100, 20))
    pixels, labels = data["train"]
    pixels[0] = data["test"][0][10]
    pixels[21] = pixels[31] = pixels[41] = pixels[1]
    found = pixels_by_name(
        prepared("mnist", idx_files({**data, "train": (pixels, labels)}), tmp_path / "out", validation=40)
    )
    assert "test/0/00010" in found
    assert not any(name.endswith("/00000") and not name.startswith("test") for name in found)
    splits = {
        name.split("/")[0]
        for name in found
        if name.split("/")[2] in ("00001", "00021", "00031", "00041") and "/1/" in name
    }
    assert len(splits - {"test"}) == 1
    np.testing.assert_array_equal(found["test/0/00010"], pixels[0])
