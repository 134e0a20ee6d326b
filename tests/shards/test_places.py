"""The places of images in shards, and the patterns that name shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncli.shards.listing import find_shards, is_sharded, missing_of_series
from cnncli.shards.places import expand_braces, split_place
from tests.images.making import jpeg, write_tree
from tests.shards.writing import samples, write_parquet, write_tar


def test_the_first_file_on_the_way_is_the_shard(tmp_path: Path) -> None:
    """A folder can be named like a shard, and the name of an image can contain one."""
    shard = write_tar(tmp_path / "old.tar" / "a.tar", [])

    assert split_place(shard / "b.tar" / "c.jpg") == (str(shard), "b.tar/c.jpg")
    assert split_place(shard) is None
    assert split_place(tmp_path / "old.tar" / "c.jpg") is None
    assert split_place("s3:/bucket/a.tar/cat/1.jpg") == ("s3:/bucket/a.tar", "cat/1.jpg")


@pytest.mark.parametrize(
    ("pattern", "n", "last"),
    [
        ("a.tar", 1, "a.tar"),
        ("{train,val}-{00..02}.tar", 6, "val-02.tar"),
        ("{0..1}/{8..11}.tar", 8, "1/11.tar"),
        ("{a}.tar", 1, "{a}.tar"),
    ],
)
def test_braces_stand_for_paths(pattern: str, n: int, last: str) -> None:
    """Ranges keep leading zeros, and several braces give all combinations."""
    assert (len(expand_braces(pattern)), expand_braces(pattern)[-1]) == (n, last)


@pytest.mark.parametrize("pattern", ["{5..1}.tar", "{0..99999999}.tar", "{0..9999}{0..9999}.tar"])
def test_absurd_ranges_are_refused(pattern: str) -> None:
    """Braces that stand for no path or for too many raise ValueError before a list is made."""
    with pytest.raises(ValueError, match="braces"):
        expand_braces(pattern)


def test_a_folder_with_nothing_but_shards_is_sharded(tmp_path: Path) -> None:
    """Shards lie in the folder or in those in it; archives next to class folders are not the dataset."""
    tar, chosen = write_tar(tmp_path / "flat" / "a.tar", []), samples(2)
    deep = write_parquet(tmp_path / "deep" / "data" / "train-00000-of-00001.parquet", chosen)
    write_tree(tmp_path / "photos", {"cats/1.jpg": jpeg(), "old.tar": b"", "table.parquet": b""})

    assert find_shards(tmp_path / "flat") == find_shards(tmp_path / "flat" / "*.tar") == [str(tar)]
    assert find_shards(tmp_path / "deep") == [str(deep)]
    assert [is_sharded(tmp_path / name) for name in ("flat", "deep", "photos")] == [True, True, False]
    assert is_sharded(deep)
    assert not is_sharded(tmp_path / "photos" / "table.parquet")


@pytest.mark.parametrize(
    "names",
    [
        ("1.jpg", "photos.tar"),
        ("1.HEIC", "predictions.parquet"),
        ("cats/1.jpg", "cats/old.tar", "dogs/1.jpg", "dogs/old.tar"),
        ("train/0.tar", "train/1.png"),
        ("1.png", "train/0.tar"),
        ("train/0.tar", "train/cats/1.png"),
    ],
)
def test_images_next_to_a_shard_are_the_dataset(tmp_path: Path, names: tuple[str, ...]) -> None:
    """A folder with image files is one of images, whatever archives and tables lie next to them."""
    write_tree(tmp_path, dict.fromkeys(names, jpeg()))

    assert not is_sharded(tmp_path)


def test_other_files_next_to_shards_do_not_matter(tmp_path: Path) -> None:
    """Names of classes, a text and hidden files, also previews, can lie next to shards."""
    write_tree(tmp_path, dict.fromkeys(("0.tar", "classes.txt", "README.md", ".preview.jpg"), b""))

    assert is_sharded(tmp_path)


@pytest.mark.parametrize("pattern", ["{0..4}.tar", "{0,3,2}.tar"])
def test_all_members_of_braces_exist(tmp_path: Path, pattern: str) -> None:
    """A shard of a range or a list that is missing is named; no shard at all is an empty list."""
    write_tree(tmp_path, dict.fromkeys(("0.tar", "1.tar", "2.tar", "4.tar"), b""))

    with pytest.raises(FileNotFoundError, match=r"\b3\.tar"):
        find_shards(tmp_path / pattern)
    assert find_shards(tmp_path / "{7..9}.tar") == []
    assert len(find_shards(tmp_path / "{0..2}.tar")) == len(find_shards(tmp_path / "{0,[12]}.tar")) == 3


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        (".", ["train-00001-of-00003.parquet", "train-00002-of-00003.parquet"]),
        ("*-of-*", ["train-00001-of-00003.parquet", "train-00002-of-00003.parquet"]),
        ("{train,test}-*.parquet", ["train-00001-of-00003.parquet", "train-00002-of-00003.parquet"]),
        ("*-0000[01]-of-*.parquet", ["train-00001-of-00003.parquet"]),
        ("train-00000-of-00003.parquet", []),
        ("test*.parquet", []),
    ],
)
def test_a_series_tells_which_shards_are_missing(tmp_path: Path, path: str, missing: list[str]) -> None:
    """The number of shards in their names tells which of a folder or pattern are missing, with or without a hash."""
    names = ("train-00000-of-00003", "test-00000-of-00002-a09b74b3ef9c3b56", "test-00001-of-00002-f19b74b3ef9c3b56")
    shards = [str(tmp_path / f"{name}.parquet") for name in names]

    assert missing_of_series(tmp_path / path, shards) == [str(tmp_path / name) for name in missing]


def test_a_series_can_begin_with_one(tmp_path: Path) -> None:
    """If the last number is the total, none is missing at the start."""
    shards = [str(tmp_path / f"train-0000{number}-of-00003.tar") for number in (1, 3)]

    assert missing_of_series(tmp_path, shards) == [str(tmp_path / "train-00002-of-00003.tar")]
