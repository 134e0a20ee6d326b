"""Listing the keys of the feature cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.features import listing
from cnncli.features.listing import list_keys
from cnncli.features.segments import DESCRIPTION, INDEX, ROWS
from cnncli.features.store import FeatureKey, FeatureStore
from tests.features.storing import digests_of, features_of

PIXELS = {"height": 160, "width": 120, "color": "rgb"}
TRUNK = {
    "trunk": "0123456789abcdef",
    "engine": {"engine": "openvino", "precision": "bfloat16"},
    "pixels": PIXELS,
    "view": {},
}


def _store(folder: Path, key: FeatureKey, used: float = 0.0, count: int = 3) -> None:
    with FeatureStore(folder) as store:
        store.write(key, digests_of(count), features_of(count))
    os.utime(folder / key.name / DESCRIPTION, (used, used))


def test_a_key_is_described_by_its_recipe(tmp_path: Path) -> None:
    """A key is listed with its network, view, engine, precision, image size and number of distinct images."""
    key = FeatureKey({**TRUNK, "view": {"view": 2, "shear_range": 3}}, {"network": "VGG16", "cut": "block4_pool"})
    _store(tmp_path, key, count=1500)
    with FeatureStore(tmp_path) as store:
        store.write(key, digests_of(1500), [np.zeros((1500, 1), np.uint8)])
    os.utime(tmp_path / key.name / DESCRIPTION, (1.0, 1.0))
    (summary,) = list_keys(tmp_path)
    cells = summary.cells()

    assert cells.pop("size") == f"{summary.size_bytes / 1000:.0f} kB"
    assert cells.pop("last used") == time.strftime("%Y-%m-%d %H:%M", time.localtime(1))
    assert cells == {
        "features of": "VGG16",
        "cut after": "block4_pool",
        "view": "2",
        "augmented": hashlib.sha256(b'{"shear_range": 3}').hexdigest()[:8],
        "engine": "openvino",
        "precision": "bfloat16",
        "pixels": "160×120",
        "images": "1,500",
        "in use": "no",
    }
    assert summary.to_dict()["augmentation"] == {"shear_range": 3}
    assert summary.to_dict()["trunk"] == TRUNK["trunk"]
    assert summary.to_dict()["used"] == "1970-01-01T00:00:01.000Z"
    files = [path for path in tmp_path.rglob("*") if path.name in (INDEX, ROWS)]
    assert summary.size_bytes == sum(path.stat().st_size for path in files)


def test_a_network_without_a_name_is_listed_by_its_fingerprint(tmp_path: Path) -> None:
    """Features of a network without a name are listed by its fingerprint, and decoded pixels as `pixels`."""
    _store(tmp_path, FeatureKey(TRUNK), used=1.0)
    _store(tmp_path, FeatureKey({**TRUNK, "trunk": None, "engine": None}), used=2.0)
    trunk, pixels = list_keys(tmp_path)

    assert tuple(trunk.cells().values())[:7] == ("network 01234567", "–", "0", "–", "openvino", "bfloat16", "160×120")
    assert tuple(pixels.cells().values())[:7] == ("pixels", "–", "0", "–", "–", "–", "160×120")


def test_keys_of_different_augmentations_are_distinguishable(tmp_path: Path) -> None:
    """Keys that differ only in their augmentation are listed with different values in that column."""
    for number, degrees in enumerate((15, 20)):
        _store(tmp_path, FeatureKey({**TRUNK, "view": {"view": 1, "rotation_range": degrees}}), used=float(number))
    first, second = (key.cells() for key in list_keys(tmp_path))

    assert [column for column in first if first[column] != second[column]] == ["augmented"]


def test_the_least_recently_used_key_comes_first(tmp_path: Path) -> None:
    """Keys are listed in the order of their last use, starting with the one to be evicted first."""
    for used in (3.0, 1.0, 2.0):
        _store(tmp_path, FeatureKey({**TRUNK, "trunk": str(used)}), used)

    assert [key.used for key in list_keys(tmp_path)] == [1.0, 2.0, 3.0]


def test_an_open_key_is_in_use(tmp_path: Path) -> None:
    """A key is listed as in use until its store is closed."""
    key = FeatureKey(TRUNK)
    _store(tmp_path, key)
    with FeatureStore(tmp_path) as store:
        store.missing(key, digests_of(1))
        assert list_keys(tmp_path)[0].in_use
        assert list_keys(tmp_path)[0].cells()["in use"] == "yes"

    assert not list_keys(tmp_path)[0].in_use


def test_any_folder_is_listed(tmp_path: Path) -> None:
    """Folders in an unknown format or with a damaged description are also listed, and nothing is written."""
    for name, recipe in (("a", "{"), ("b", "[1]"), ("c", '{"recipe": {"engine": 7, "view": []}}')):
        (tmp_path / name / "segment").mkdir(parents=True)
        (tmp_path / name / "segment" / "0.bin").write_bytes(bytes(100))
        (tmp_path / name / "recipe.json").write_text(recipe)
    (tmp_path / "d").mkdir()
    before = sorted(tmp_path.rglob("*"))
    listed = {key.name: key for key in list_keys(tmp_path)}

    assert [tuple(listed[name].cells().values())[:8] for name in "abcd"] == [
        ("–", "–", "–", "–", "–", "–", "–", "0"),
        ("–", "–", "–", "–", "–", "–", "–", "0"),
        ("pixels", "–", "0", "–", "–", "–", "–", "0"),
        ("–", "–", "–", "–", "–", "–", "–", "0"),
    ]
    assert [listed[name].size_bytes for name in "abcd"] == [100, 100, 100, 0]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_cache_has_no_keys(tmp_path: Path) -> None:
    """A cache that does not exist has no keys, and listing does not create it."""
    assert list_keys(tmp_path / "features") == ()
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize("before", ["read_json", "_count_images", "is_locked"])
def test_a_key_can_be_evicted_during_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """If a key is evicted while keys are being listed, the other keys are still listed."""
    for used in (1.0, 2.0):
        _store(tmp_path, FeatureKey({**TRUNK, "trunk": str(used)}), used)
    gone = tmp_path / FeatureKey({**TRUNK, "trunk": "1.0"}).name
    plain = getattr(listing, before)

    def evicting(path: Path) -> Any:
        shutil.rmtree(gone, ignore_errors=True)
        return plain(path)

    monkeypatch.setattr(listing, before, evicting)

    assert [key.used for key in list_keys(tmp_path)][-1:] == [2.0]
