"""An open shard gives the bytes of its images, from an index that is read once."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cnncli.shards import shard as shards
from cnncli.shards.index import read_index
from cnncli.shards.shard import open_image_file, read_image, reading_order
from cnncli.storage.cache_dir import SHARDS, cache_dir
from tests.shards.writing import Sample, samples, write_parquet, write_tar, write_webdataset

CHOSEN = samples(24)
WRITERS: dict[str, Callable[[Path], Path]] = {
    "tar": lambda folder: write_webdataset(folder / "a.tar", CHOSEN),
    "parquet": lambda folder: write_parquet(folder / "a.parquet", CHOSEN),
}


@pytest.fixture(params=WRITERS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a shard of 24 images of each kind."""
    return WRITERS[request.param](tmp_path)


def places(path: Path) -> list[str]:
    """Return the places of all images of a shard."""
    return [f"{path}/{name}" for name in read_index(str(path)).names]


def test_images_are_read_byte_for_byte(path: Path) -> None:
    """The content of an image in a shard is that of its file, also for several threads in any order."""
    expected = dict(zip(places(path), [content for _, _, content in CHOSEN], strict=True))
    wanted = [*expected, *reversed(expected)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda place: read_image(Path(place), 10**6), wanted))

    assert found == [expected[place] for place in wanted]


def test_an_image_behaves_like_a_file(path: Path) -> None:
    """It can be read in parts and from any place, and ends where the image ends."""
    place, content = places(path)[3], CHOSEN[3][2]
    with open_image_file(Path(place)) as file:  # type: ignore[union-attr]
        assert file.seek(0, os.SEEK_END) == len(content)
        assert file.read() == b""
        assert file.seek(10) == 10
        assert file.read(5) == content[10:15]
        assert file.read() == content[15:]


@pytest.mark.parametrize("name", ["absent.jpg", "24", "-1", "03", "", "cats/../cats/00000.jpg"])
def test_an_unknown_name_is_not_found(path: Path, name: str) -> None:
    """A name that is not that of an image in the shard raises FileNotFoundError."""
    with pytest.raises(FileNotFoundError):
        read_image(Path(f"{path}/{name}") if name else path / "x", 10**6)


def test_no_more_is_read_than_allowed(path: Path) -> None:
    """An image that is larger than the manifest says raises OSError."""
    with pytest.raises(OSError, match="larger"):
        read_image(Path(places(path)[0]), 10)


def test_the_index_is_read_once_and_again_after_a_change(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unchanged shard is not opened again; a changed one, or a damaged index, is."""
    first = read_index(str(path))
    with monkeypatch.context() as patch:
        patch.setattr(shards, "open_shard", None)
        again = read_index(str(path))
    assert (list(again.names), list(again.labels)) == (list(first.names), list(first.labels))
    assert again.offsets.tolist() == first.offsets.tolist()

    (cached,) = (cache_dir() / SHARDS).iterdir()
    cached.write_bytes(cached.read_bytes()[:50])
    assert list(read_index(str(path)).names) == list(first.names)

    path.unlink()
    fewer: list[Sample] = CHOSEN[:3]
    (write_webdataset if path.suffix == ".tar" else write_parquet)(path, fewer)
    assert len(read_index(str(path)).names) == 3
    assert read_image(Path(places(path)[2]), 10**6) == fewer[2][2]


def test_images_are_read_in_the_order_of_the_shard(path: Path) -> None:
    """The reading order of images of a shard is that in which they are stored, whatever the requested order."""
    wanted = [*reversed(places(path)), "/photos/b.jpg", "/photos/a.jpg"]

    assert [wanted[n] for n in reading_order(wanted)] == ["/photos/b.jpg", "/photos/a.jpg", *places(path)]


def test_labels_come_from_cls_before_json(tmp_path: Path) -> None:
    """A .cls file is the label of all images with its key; JSON counts without one, in whatever order they come."""
    members = [
        ("a.json", b'{"label": "wrong"}'),
        ("a.left.jpg", b"1"),
        ("a.cls", b" cats\n"),
        ("a.right.JPG", b"2"),
        ("b.jpg", b"3"),
        ("b.json", b'{"width": 3, "label": 7}'),
        ("c.png", b"4"),
        ("c.txt", b"a caption"),
    ]
    found = read_index(str(write_tar(tmp_path / "a.tar", members)))

    assert dict(zip(found.names, found.labels, strict=True)) == {
        "a.left.jpg": "cats",
        "a.right.JPG": "cats",
        "b.jpg": "7",
        "c.png": "",
        "c.txt": "",
    }
    assert found.problems == ()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: b"\x28\xb5\x2f\xfd" + data,
}


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_a_compressed_tar_is_recognized_by_its_content(tmp_path: Path, kind: str) -> None:
    """A compressed tar without the usual suffix is not called damaged; a file can be named like the signature."""
    tar = write_tar(tmp_path / "a.tar", [("BZh9.jpg", b"1")])
    assert list(read_index(str(tar)).names) == ["BZh9.jpg"]
    tar.write_bytes(COMPRESSIONS[kind](tar.read_bytes()))

    ((name, reason),) = read_index(str(tar)).problems
    assert (name, kind in reason, "unpack it" in reason) == ("", True, True)


def test_two_labels_of_one_key_are_a_problem(tmp_path: Path) -> None:
    """Names with dots share a key, which is reported once; equal labels, and one in JSON, do not contradict it."""
    members = [
        *(("IMG.0.jpg", b"1"), ("IMG.0.cls", b"cats"), ("IMG.1.jpg", b"2"), ("IMG.1.cls", b"dogs")),
        *(("IMG.2.jpg", b"3"), ("IMG.2.cls", b"birds"), ("IMG.json", b'{"label": "fish"}')),
        *(("a/b.0.jpg", b"4"), ("a/b.0.json", b'{"label": 1}'), ("a/b.1.jpg", b"5"), ("a/b.1.json", b'{"label": 2}')),
        *(("d.jpg", b"8"), ("d.cls", b"cats"), ("d.json", b'{"label": 0}'), ("d.meta.json", b'{"label": "box"}')),
        *(("e.jpg", b"9"), ("e.meta.json", b'{"label": "box"}'), ("e.json", b'{"label": "cats"}')),
        *(("c.0.jpg", b"6"), ("c.0.cls", b"cats"), ("c.1.jpg", b"7"), ("c.1.cls", b"cats")),
    ]
    found = read_index(str(write_tar(tmp_path / "a.tar", members)))

    assert [name for name, _ in found.problems] == ["IMG.1.cls", "a/b.1.json"]
    assert ["IMG " in found.problems[0][1], "a/b " in found.problems[1][1]] == [True, True]
    assert {found.labels[found.names.index(name)] for name in ("d.jpg", "e.jpg")} == {"cats"}
