"""Datasets of photographs: Oxford-IIIT Pets and TensorFlow's flowers."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.dataset.known.making import prepared, tarred
from tests.images.making import jpeg, write_tree

BREEDS = ("Abyssinian", "american_pit_bull_terrier")


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pets() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the images and annotations of Oxford-IIIT Pets: two for training, one for testing, one in no list."""
    images = {
        f"images/{breed}_{k}.jpg": jpeg(10 * b + k, 12, 16) for b, breed in enumerate(BREEDS) for k in range(1, 5)
    }
    lines = {"trainval": "1 2", "test": "3"}
    lists = {
        f"annotations/{name}.txt": "".join(f"{breed}_{k} 1 1 1\n" for breed in BREEDS for k in numbers.split()).encode()
        for name, numbers in lines.items()
    }
    other = {"annotations/trimaps/._Abyssinian_1.png": b"x", "annotations/xmls/Abyssinian_1.xml": b"<x/>"}
    return {**images, "images/Abyssinian_5.mat": b"x"}, {**lists, **other}


@pytest.mark.parametrize("form", ["archives", "folders"])
def test_pets_have_their_breeds_and_published_splits(
    form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Pets get their class from the file name and their split from the lists; the JPEGs are unchanged."""
    caplog.set_level(logging.INFO)
    images, lists = pets()
    packed = {"images.tar.gz": tarred(images), "annotations.tar.gz": tarred(lists)}
    found = files_below(prepared("pets", packed if form == "archives" else {**images, **lists}, tmp_path / "out"))
    assert found == {
        f"{split}/{breed}/{breed}_{k}.jpg": images[f"images/{breed}_{k}.jpg"]
        for breed in BREEDS
        for k, split in ((1, "train"), (2, "train"), (3, "test"))
    }
    (unlisted,) = [
        record.msg for record in caplog.records if getattr(record.msg, "code", "") == "data-prepare-unlisted"
    ]
    assert unlisted.facts["n"] == 2


def test_damaged_photographs_are_left_out_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An unreadable photograph is reported by its name in the download, and left out."""
    images, lists = pets()
    images["images/Abyssinian_1.jpg"] = b"no image"
    found = files_below(prepared("pets", {**images, **lists}, tmp_path / "out"))
    assert "train/Abyssinian/Abyssinian_1.jpg" not in found
    assert len(found) == 5
    warnings = [record.msg for record in caplog.records if record.levelno == logging.WARNING]
    assert [one.facts["path"] for one in warnings] == ["images/Abyssinian_1.jpg"]


def flowers() -> dict[str, bytes]:
    """Return the files of the flower photos, and a folder that is not a flower."""
    names = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    images = {
        f"flower_photos/{name}/{k}.jpg": jpeg(10 * n + k, 12, 16) for n, name in enumerate(names) for k in range(4)
    }
    return {**images, "flower_photos/LICENSE.txt": b"x", "flower_photos/other/1.jpg": jpeg(900)}


def test_flowers_are_class_folders_until_validation_is_drawn(tmp_path: Path) -> None:
    """Flowers have no published split: class folders, of which train draws both splits, or train and validation."""
    source = write_tree(tmp_path / "x", {"flower_photos.tgz": tarred(flowers())}) / "flower_photos.tgz"
    found = files_below(prepared("flowers", source, tmp_path / "out"))
    expected = {name.removeprefix("flower_photos/"): data for name, data in flowers().items()}
    assert found == {name: data for name, data in expected.items() if not name.startswith(("LICENSE", "other"))}
    drawn = files_below(prepared("flowers", source, tmp_path / "drawn", validation=0.25))
    assert sum(name.startswith("validation/") for name in drawn) == 5
    assert sum(name.startswith("train/") for name in drawn) == 15
