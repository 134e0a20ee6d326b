"""Parquet files from anywhere: what they state is not believed, and what they contain has bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from cnncli.dataset.labels.shards import index_of_shard
from cnncli.shards import parquet as shards
from cnncli.shards.index import ShardIndex, read_index
from cnncli.shards.listing import is_sharded
from cnncli.shards.shard import read_image
from tests.shards.writing import samples, write_parquet, write_tar

CHOSEN = samples(12)


def write_rows(path: Path, images: Any, labels: Any, metadata: dict[str, str] | None = None, **options: Any) -> Path:
    """Write a Parquet file with a column of images and one of labels."""
    table = pa.table({"image": images, "label": labels}).replace_schema_metadata(metadata)
    parquet.write_table(table, path, **options)
    return path


def reason_of(index: ShardIndex) -> str:
    """Return why a shard cannot be used."""
    ((name, reason),) = index.problems
    assert (name, len(index.names)) == ("", 0)
    return reason


def test_a_small_file_with_millions_of_rows_is_refused(tmp_path: Path) -> None:
    """Labels that a run-length code states in a few bytes are not unpacked."""
    n = 3_000_000
    images = pa.nulls(n, pa.binary())
    path = write_rows(tmp_path / "a.parquet", images, pa.repeat(pa.scalar(7), n), compression="zstd")

    assert path.stat().st_size < 100_000
    assert "3,000,000 rows" in reason_of(read_index(str(path)))


def test_labels_that_a_dictionary_repeats_are_refused(tmp_path: Path) -> None:
    """A long label that is stored once, and stated for every row, does not fill the memory."""
    n = 2_000
    images = pa.nulls(n, pa.binary())
    path = write_rows(tmp_path / "a.parquet", images, pa.repeat("x" * 100_000, n).dictionary_encode().cast(pa.string()))

    assert path.stat().st_size < 300_000
    assert "larger than the file" in reason_of(read_index(str(path)))


def test_a_row_group_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group whose images take too much memory is refused by its stated size, before it is read."""
    path = write_rows(tmp_path / "a.parquet", [bytes(10_000)] * 3 + [bytes(20_000)], [0, 1, 0, 1], compression="zstd")
    monkeypatch.setattr(shards, "MAX_GROUP_BYTES", 25_000)

    assert "smaller row groups" in reason_of(read_index(str(path)))


def test_images_that_a_dictionary_repeats_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of a group that is only seen while it is read has the same limit; others are read as before."""
    path = write_rows(tmp_path / "a.parquet", [bytes(10_000)] * 50, [0] * 50, row_group_size=30)
    monkeypatch.setattr(shards, "MAX_GROUP_BYTES", 250_000)

    assert len(read_index(str(path)).names) == 50
    with pytest.raises(OSError, match="smaller row groups"):
        read_image(path / "3", 10**6)
    assert read_image(path / "49", 10**6) == bytes(10_000)


def test_few_groups_are_kept_within_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups beyond the limit are read again, and each image is that of its row."""
    path = write_parquet(tmp_path / "a.parquet", CHOSEN)
    monkeypatch.setattr(shards, "MAX_GROUP_BYTES", sum(len(content) for _, _, content in CHOSEN[:6]) + 1_000)

    for row in (0, 11, 5, 1, 10):
        assert read_image(path / str(row), 10**6) == CHOSEN[row][2]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"image": [b"1"], "coarse": [0], "fine": [1]}, "rename one of coarse, fine to label"),
        ({"image": [b"1"], "name": ["a"], "category_id": [1]}, "rename one of name, category_id to label"),
        ({"left": [b"1"], "right": [b"1"], "label": [1]}, "rename one of left, right to image"),
        ({"image": [b"1"], "score": [0.5]}, "no column of labels"),
    ],
)
def test_columns_that_cannot_be_chosen_are_named(
    tmp_path: Path, columns: dict[str, list[object]], expected: str
) -> None:
    """Several possible columns without a usual name are listed with the remedy; a file with `image` is no table."""
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")

    assert expected in reason_of(read_index(str(tmp_path / "a.parquet")))
    assert is_sharded(tmp_path / "a.parquet") == ("image" in columns)


@pytest.mark.parametrize("column", ["struct", "binary"])
def test_images_that_are_not_embedded_are_one_problem(tmp_path: Path, column: str) -> None:
    """A shard with nothing but paths of images is refused as a whole; a single null is an image that is not there."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": None, "path": f"{k}.jpg"} for k in range(12)] if column == "struct" else [None] * 12
    first = {"bytes": b"1", "path": "0.jpg"} if column == "struct" else b"1"
    kind = kind if column == "struct" else pa.binary()
    absent = write_rows(tmp_path / "a.parquet", pa.array(rows, kind), [0, 1] * 6, row_group_size=5)
    partial = write_rows(tmp_path / "b.parquet", pa.array([first, *rows[1:]], kind), [0, 1] * 6, row_group_size=5)

    assert "not embedded" in reason_of(read_index(str(absent)))
    assert len(read_index(str(partial)).names) == 12
    assert read_image(partial / "0", 10) == b"1"
    with pytest.raises(OSError, match="not embedded"):
        read_image(partial / "1", 10)


@pytest.mark.parametrize("label", [r"a\u0000b", r"\ud800", r"\udce9"])
def test_a_label_that_is_not_text_is_refused_in_a_tar(tmp_path: Path, label: str) -> None:
    """Half of a character or a zero byte is a problem of its file, and the other images can be used."""
    members = [("a.jpg", b"1"), ("a.json", f'{{"label": "{label}"}}'.encode()), ("b.jpg", b"2"), ("b.cls", b"cats")]
    found = read_index(str(write_tar(tmp_path / "a.tar", members)))

    assert dict(zip(found.names, found.labels, strict=True)) == {"a.jpg": "", "b.jpg": "cats"}
    assert [name for name, _ in found.problems] == ["a.json"]


def test_a_label_that_is_not_text_is_refused_in_parquet(tmp_path: Path) -> None:
    """A zero byte in a label is a problem of the shard."""
    path = write_rows(tmp_path / "a.parquet", [b"1", b"2"], ["a\0b", "cats"])

    assert "not text" in reason_of(read_index(str(path)))


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_class_name_that_is_not_text_is_refused(tmp_path: Path, name: str) -> None:
    """Names of classes in the metadata, which become names of folders and cells, are Unicode."""
    features = {"label": {"names": ["cats", name], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path = write_rows(tmp_path / "a.parquet", [b"1", b"2"], [0, 1], metadata)

    assert "not text" in reason_of(read_index(str(path)))


def test_damage_of_any_kind_is_a_problem_of_the_shard(tmp_path: Path) -> None:
    """A damaged shard is refused with any exception of pyarrow, and the others are read."""
    whole = write_parquet(tmp_path / "a.parquet", CHOSEN).read_bytes()
    for place in range(4, len(whole), 37):
        path = tmp_path / f"{place}.parquet"
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        found = index_of_shard(str(path))
        assert found.problems or len(found.names) == len(found.labels) == len(CHOSEN)


def test_bytes_that_are_not_utf_8_are_a_problem_of_the_shard(tmp_path: Path) -> None:
    """A label of raw bytes in a column of text cannot be decoded."""
    offsets = pa.py_buffer(bytes([0, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0]))
    labels = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"\xff\xfeok"))
    path = write_rows(tmp_path / "a.parquet", [b"1", b"2"], labels)

    assert "cannot be read" in reason_of(read_index(str(path)))
