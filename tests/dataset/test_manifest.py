"""The manifest and its CSV file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnncli.dataset.manifest import Manifest, columns
from cnncli.dataset.records import ImageRecord
from cnncli.errors import DataError
from cnncli.images.verify import ImageFacts
from cnncli.storage.atomic import write_atomically


def record(file: str, label: str, split: str, digest: str, size_bytes: int, width: int, height: int) -> ImageRecord:
    """Return the record of a verified image."""
    return ImageRecord(file, (label,), split, ImageFacts(digest, size_bytes, width, height))


ROWS = (
    record("/d/train/cats/a.jpg", "cats", "train", "0" * 64, 10, 4, 3),
    record("/d/train/dogs/b.jpg", "dogs", "train", "1" * 64, 11, 4, 3),
    record("/d/test/dogs/c.jpg", "dogs", "test", "2" * 64, 12, 4, 3),
)
MANIFEST = Manifest(ROWS, ("cats", "dogs"))

names = st.binary(min_size=1, max_size=30).filter(lambda name: not {0, ord("/")} & set(name)).map(os.fsdecode)
rows = st.builds(
    record,
    file=st.lists(names, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts)),
    label=names,
    split=st.sampled_from(["train", "validation", "test"]),
    digest=st.binary(min_size=32, max_size=32).map(bytes.hex),
    size_bytes=st.integers(1, 2**40),
    width=st.integers(1, 10**5),
    height=st.integers(1, 10**5),
)


def test_splits_counts_and_labels_describe_the_images() -> None:
    """Labels are numbered in the order of class names; counts include missing classes as 0 and omit empty splits."""
    assert MANIFEST.split("train") == ROWS[:2]
    assert MANIFEST.split("validation") == ()
    assert MANIFEST.counts() == {"train": {"cats": 1, "dogs": 1}, "test": {"cats": 0, "dogs": 1}}
    assert list(MANIFEST.counts()) == ["train", "test"]
    labels = MANIFEST.labels(ROWS)
    np.testing.assert_array_equal(labels, [0, 1, 1])
    assert labels.dtype == np.int64
    assert MANIFEST.labels([]).shape == (0,)


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, max_size=8))
def test_any_file_name_survives_the_csv(tmp_path: Path, found: list[ImageRecord]) -> None:
    """Any file name, even with quotes, line breaks or invalid UTF-8, is read back unchanged from the CSV file."""
    write_atomically(tmp_path / "manifest.csv", Manifest(tuple(found), ()).csv_text())
    back = Manifest.from_csv(tmp_path / "manifest.csv")
    assert back.rows == tuple(found)
    assert back.classes == tuple(sorted({row.label for row in found}))


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")
def test_csv_holds_the_bytes_of_the_file_system(tmp_path: Path) -> None:
    """The CSV file contains the raw bytes of file names, so that other programs can open the files."""
    path = Path(os.fsdecode(b"/d/\xff\xe9t\xc3\xa9.jpg"))
    manifest = Manifest((record(str(path), "cats", "train", "0" * 64, 1, 1, 1),), ("cats",))
    write_atomically(tmp_path / "m.csv", manifest.csv_text())
    assert b'"/d/\xff\xe9t\xc3\xa9.jpg","cats","train",' in (tmp_path / "m.csv").read_bytes()


def test_csv_has_a_line_for_each_image() -> None:
    """The CSV file has a header and one line per image."""
    assert MANIFEST.csv_text().splitlines()[:2] == [
        '"path","label","split","digest","size_bytes","width","height"',
        f'"/d/train/cats/a.jpg","cats","train","{"0" * 64}",10,4,3',
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a,b\n1,2\n",
        ",".join(columns(False)).encode() + b"\n/d/a.jpg,cats\n",
        ",".join(columns(False)).encode() + b"\n/d/a.jpg,cats,train,0,x,1,1\n",
        ",".join(columns(False)).encode() + b"\n/d/a.jpg,cats,train,0,1,1,1\n",
    ],
)
def test_damaged_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    """Reading a damaged CSV file raises an error with its path."""
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        Manifest.from_csv(path)
    assert (error.value.code, error.value.facts["path"]) == ("data-manifest-invalid", path)


def test_missing_csv_is_refused(tmp_path: Path) -> None:
    """Reading a missing CSV file raises an error with its path."""
    with pytest.raises(DataError) as error:
        Manifest.from_csv(tmp_path / "m.csv")
    assert (error.value.code, error.value.facts["path"]) == ("data-manifest-invalid", tmp_path / "m.csv")


def test_groups_are_a_column_if_there_are_any(tmp_path: Path) -> None:
    """The groups of images are read back; a manifest without groups has no such column."""
    rows = tuple(replace(row, group=f"patient {number}") for number, row in enumerate(MANIFEST.rows))
    (tmp_path / "m.csv").write_text(replace(MANIFEST, rows=rows).csv_text())

    assert Manifest.from_csv(tmp_path / "m.csv").rows == rows
    assert "group" not in MANIFEST.csv_text()
