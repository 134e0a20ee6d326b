"""Detecting damaged segments and computing their features again."""

from __future__ import annotations

import errno
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.features.store import FeatureStore
from tests.features.storing import KEY, digests_of, features_of, kill, segments_in, start, wait_for
from tests.support.logged import codes_in

TRIALS = 60


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache with one segment of seven rows."""
    folder = tmp_path_factory.mktemp("whole")
    FeatureStore(folder).write(KEY, digests_of(7), features_of(7))
    return folder


@pytest.mark.parametrize("name", ["rows.bin", "index.json"])
@pytest.mark.parametrize("kind", ["flip", "cut", "insert"])
def test_damage_at_any_offset_is_detected(whole: Path, tmp_path: Path, name: str, kind: str) -> None:
    """If a bit is flipped, or bytes are cut off or inserted, the images count as missing and the segment is deleted."""
    draw = random.Random(f"{name} {kind}")
    for trial in range(TRIALS):
        store = tmp_path / str(trial)
        shutil.copytree(whole, store)
        (segment,) = segments_in(store)
        data = bytearray((segment / name).read_bytes())
        offset = draw.randrange(len(data))
        match kind:
            case "flip":
                data[offset] ^= 1 << draw.randrange(8)
            case "cut":
                del data[offset:]
            case "insert":
                data.insert(offset, draw.randrange(256))
        (segment / name).write_bytes(data)

        assert FeatureStore(store).missing(KEY, digests_of(7)) == digests_of(7), offset
        assert segments_in(store) == [], offset


@pytest.mark.parametrize("name", ["rows.bin", "index.json"])
def test_a_missing_file_is_detected(whole: Path, tmp_path: Path, name: str) -> None:
    """The images of a segment without its rows or its index are missing."""
    shutil.copytree(whole, tmp_path / "store")
    (segments_in(tmp_path / "store")[0] / name).unlink()

    assert FeatureStore(tmp_path / "store").missing(KEY, digests_of(7)) == digests_of(7)


@pytest.mark.parametrize("name", ["rows.bin", "index.json"])
def test_damage_is_reported_in_one_line(
    whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Damaged features are computed again with one warning, however many segments are damaged."""
    FeatureStore(tmp_path / "store").write(KEY, digests_of(2, 7), features_of(2, 7))
    shutil.copytree(whole, tmp_path / "store", dirs_exist_ok=True)
    for segment in segments_in(tmp_path / "store"):
        (segment / name).write_bytes(b"no")
    with caplog.at_level("WARNING", logger="cnncli"):
        FeatureStore(tmp_path / "store").missing(KEY, digests_of(9))

    assert codes_in(caplog) == ["cache-damaged"]


def test_damaged_features_are_computed_again(whole: Path, tmp_path: Path) -> None:
    """After damage, recomputed features equal the original ones, and other segments are unchanged."""
    shutil.copytree(whole, tmp_path / "store")
    store = FeatureStore(tmp_path / "store")
    before = store.read(KEY, digests_of(7)).rows(np.arange(7))
    store.write(KEY, digests_of(2, 7), features_of(2, 7))
    damaged = next(path for path in segments_in(tmp_path / "store") if (path / "rows.bin").stat().st_size == 7 * 20)
    (damaged / "rows.bin").write_bytes(bytes(7 * 20))
    again = FeatureStore(tmp_path / "store")
    assert again.missing(KEY, digests_of(9)) == digests_of(7)
    again.write(KEY, digests_of(7), features_of(7))
    after = again.read(KEY, digests_of(7)).rows(np.arange(7))

    assert all((one == other).all() for one, other in zip(before, after, strict=True))


def test_a_valid_copy_is_used_instead_of_a_damaged_one(whole: Path, tmp_path: Path) -> None:
    """If features are stored in a damaged and a valid segment, the valid segment is used."""
    shutil.copytree(whole, tmp_path / "store")
    (damaged,) = segments_in(tmp_path / "store")
    FeatureStore(tmp_path / "store").write(KEY, digests_of(5), features_of(5))
    (damaged / "rows.bin").write_bytes(bytes(7 * 20))
    store = FeatureStore(tmp_path / "store")

    assert store.missing(KEY, digests_of(7)) == digests_of(7)[5:]
    assert store.read(KEY, digests_of(5)).rows(np.arange(5))[0][:, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_damaged_segment_in_use_is_not_deleted(whole: Path, tmp_path: Path) -> None:
    """A damaged segment is not read, and is deleted only when no other process uses its key."""
    shutil.copytree(whole, tmp_path / "store")
    (segment,) = segments_in(tmp_path / "store")
    process = start(tmp_path / "store", "store.read(KEY, digests_of(7)); print('read', flush=True); time.sleep(60)")
    try:
        wait_for(process, "read")
        (segment / "rows.bin").write_bytes(bytes(7 * 20))
        with FeatureStore(tmp_path / "store") as store:
            assert store.missing(KEY, digests_of(7)) == digests_of(7)
            assert segment.is_dir()
            assert store.missing(KEY, digests_of(7)) == digests_of(7)
    finally:
        kill(process)

    assert FeatureStore(tmp_path / "store").missing(KEY, digests_of(7)) == digests_of(7)
    assert not segment.exists()


@pytest.mark.parametrize("name", ["rows.bin", "index.json"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ENOMEM])
def test_a_segment_that_cannot_be_read_now_is_kept(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    number: int,
) -> None:
    """A segment that cannot be read temporarily counts as missing, but is kept for the next process."""
    shutil.copytree(whole, tmp_path / "store")
    (segment,) = segments_in(tmp_path / "store")
    plain = Path.open

    def failing(path: Path, *arguments: Any, **more: Any) -> Any:
        if path == segment / name:
            raise OSError(number, "not now", str(path))
        return plain(path, *arguments, **more)

    with monkeypatch.context() as trouble, FeatureStore(tmp_path / "store") as store:
        trouble.setattr(Path, "open", failing)
        assert store.missing(KEY, digests_of(7)) == digests_of(7)
        assert store.missing(KEY, digests_of(7)) == digests_of(7)
    assert [record.msg.code for record in caplog.records] == ["cache-segment-unreadable"]

    assert FeatureStore(tmp_path / "store").missing(KEY, digests_of(7)) == []
