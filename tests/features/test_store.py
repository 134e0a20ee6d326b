"""The store gives back what was put in, and never half of anything."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from cnncli.features.store import FeatureKey, FeatureStore

KEY = FeatureKey({"trunk": "t", "view": {}})


def _digests(count: int, first: int = 0) -> list[str]:
    return [f"{number:064x}" for number in range(first, first + count)]


def _segment(folder: Path) -> Path:
    (segment,) = [path for path in (folder / KEY.name).iterdir() if path.is_dir()]
    return segment


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, ml_dtypes.bfloat16])
def test_rows_come_back_bit_for_bit(tmp_path: Path, dtype: type) -> None:
    """In every dtype that is stored, several tensors, in any order asked for."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 200, shape).astype(dtype) for shape in ((5, 3), (5, 2, 2))]
    FeatureStore(tmp_path).write(KEY, _digests(5), arrays)
    read = FeatureStore(tmp_path).read(KEY, _digests(5)).rows(np.array([4, 0, 4]))

    for got, put in zip(read, arrays, strict=True):
        assert got.dtype == put.dtype
        assert got.tobytes() == put[[4, 0, 4]].tobytes()


def test_pictures_are_found_across_segments(tmp_path: Path) -> None:
    """What was computed in several runs is read as one."""
    store = FeatureStore(tmp_path)
    store.write(KEY, _digests(2), [np.array([[0.0], [1.0]])])
    store.write(KEY, _digests(2, first=2), [np.array([[2.0], [3.0]])])
    (rows,) = store.read(KEY, _digests(4)[::-1]).rows(np.arange(4))

    assert rows[:, 0].tolist() == [3.0, 2.0, 1.0, 0.0]


def test_missing_pictures_are_named_once(tmp_path: Path) -> None:
    """Equal pictures have one digest, and are computed once."""
    store = FeatureStore(tmp_path)
    store.write(KEY, _digests(1), [np.zeros((1, 1))])

    assert store.missing(KEY, _digests(3) + _digests(3)) == _digests(3)[1:]


def test_another_recipe_is_another_key(tmp_path: Path) -> None:
    """Nothing of one key is seen under another."""
    store = FeatureStore(tmp_path)
    store.write(KEY, _digests(1), [np.zeros((1, 1))])

    assert store.missing(FeatureKey({"trunk": "u", "view": {}}), _digests(1)) == _digests(1)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "index", "shape"])
def test_a_damaged_segment_counts_as_missing(tmp_path: Path, damage: str) -> None:
    """So that its pictures are computed again; nothing of it is ever read."""
    FeatureStore(tmp_path).write(KEY, _digests(3), [np.arange(12, dtype=np.float32).reshape(3, 4)])
    segment = _segment(tmp_path)
    data, index = segment / "0.bin", segment / "index.json"
    match damage:
        case "flip":
            data.write_bytes(b"\x01" + data.read_bytes()[1:])
        case "truncate":
            data.write_bytes(data.read_bytes()[:-1])
        case "remove":
            data.unlink()
        case "index":
            index.write_text("{")
        case "shape":
            facts = json.loads(index.read_text())
            facts["tensors"][0]["shape"] = [2, 4]
            index.write_text(json.dumps(facts))

    assert FeatureStore(tmp_path).missing(KEY, _digests(3)) == _digests(3)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a segment nor what was written aside."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cnncli.features.store._write", full)
    with pytest.raises(OSError, match="No space left"):
        FeatureStore(tmp_path).write(KEY, _digests(1), [np.zeros((1, 1))])

    assert [path.name for path in (tmp_path / KEY.name).iterdir()] == ["recipe.json"]
