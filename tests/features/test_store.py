"""The cache returns what was written, and never a part of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from cnncli.errors import CacheError
from cnncli.features.segments import MAX_MAPPED
from cnncli.features.store import FeatureKey, FeatureStore
from tests.features.storing import KEY, OTHER, digests_of, features_of, segments_in


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, ml_dtypes.bfloat16])
def test_rows_are_returned_bit_for_bit(tmp_path: Path, dtype: type) -> None:
    """This holds for every dtype, for several tensors, and in any order."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 200, shape).astype(dtype) for shape in ((5, 3), (5, 2, 2), (5,))]
    FeatureStore(tmp_path).write(KEY, digests_of(5), arrays)
    features = FeatureStore(tmp_path).read(KEY, digests_of(5))

    for got, put in zip(features.rows(np.array([4, 0, 4])), arrays, strict=True):
        assert got.dtype == put.dtype
        assert got.tobytes() == put[[4, 0, 4]].tobytes()


def test_rows_may_be_strided(tmp_path: Path) -> None:
    """An engine may return a view of its own buffer."""
    array = np.arange(24.0).reshape(4, 6)[::2, ::3]
    FeatureStore(tmp_path).write(KEY, digests_of(2), [array])

    assert (FeatureStore(tmp_path).read(KEY, digests_of(2)).rows(np.arange(2))[0] == array).all()


def test_images_are_found_across_segments(tmp_path: Path) -> None:
    """Features of several runs are read together, by the process that wrote them and by another."""
    store = FeatureStore(tmp_path)
    for first in (0, 2, 4):
        store.write(KEY, digests_of(2, first), features_of(2, first))
    for reader in (store, FeatureStore(tmp_path)):
        features = reader.read(KEY, digests_of(6)[::-1])

        assert features.rows(np.arange(6))[0][:, 0].tolist() == [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]


def test_missing_images_are_named_once(tmp_path: Path) -> None:
    """Equal images have one digest and are computed once."""
    store = FeatureStore(tmp_path)

    assert store.missing(KEY, digests_of(3) + digests_of(3)) == digests_of(3)
    store.write(KEY, digests_of(1), features_of(1))
    assert store.missing(KEY, digests_of(3) + digests_of(3)) == digests_of(3)[1:]


def test_segments_of_another_process_are_found(tmp_path: Path) -> None:
    """They are found although this process has looked before."""
    mine, other = FeatureStore(tmp_path), FeatureStore(tmp_path)
    other.write(KEY, digests_of(1), features_of(1))
    assert mine.missing(KEY, digests_of(2)) == digests_of(2)[1:]
    other.write(KEY, digests_of(1, 1), features_of(1, 1))

    assert mine.missing(KEY, digests_of(2)) == []


def test_another_recipe_is_another_key(tmp_path: Path) -> None:
    """Features of one key are not found under another; facts for people do not matter."""
    store = FeatureStore(tmp_path)
    store.write(KEY, digests_of(1), features_of(1))

    assert store.missing(OTHER, digests_of(1)) == digests_of(1)
    assert store.missing(FeatureKey(KEY.recipe, {"network": "VGG16"}), digests_of(1)) == []


def test_deleted_features_are_an_error(tmp_path: Path) -> None:
    """The error counts them; after that they can be computed again."""
    store = FeatureStore(tmp_path)
    store.write(KEY, digests_of(2), features_of(2))
    with pytest.raises(CacheError) as caught:
        store.read(KEY, digests_of(3))
    facts = caught.value.facts
    assert caught.value.code == "cache-features-missing"
    assert (facts["path"], facts["received"], facts["expected"]) == (tmp_path / KEY.name, 2, 3)

    shutil.rmtree(tmp_path)
    with pytest.raises(CacheError) as caught:
        store.read(KEY, digests_of(2))
    assert (caught.value.facts["received"], caught.value.facts["expected"]) == (0, 2)
    assert store.missing(KEY, digests_of(2)) == digests_of(2)


def test_a_file_that_changes_while_in_use_is_an_error(tmp_path: Path) -> None:
    """It may be shortened by hand before its first row is read."""
    FeatureStore(tmp_path).write(KEY, digests_of(2), features_of(2))
    features = FeatureStore(tmp_path).read(KEY, digests_of(2))
    (segment,) = segments_in(tmp_path)
    os.truncate(segment / "rows.bin", 3)
    with pytest.raises(CacheError) as caught:
        features.rows(np.arange(2))

    assert (caught.value.code, caught.value.facts["path"]) == ("cache-features-missing", segment)


def test_a_cache_whose_folder_was_deleted_is_still_usable(tmp_path: Path) -> None:
    """Only its contents are lost."""
    store = FeatureStore(tmp_path / "store")
    store.write(KEY, digests_of(2), features_of(2))
    shutil.rmtree(tmp_path / "store")
    store.write(KEY, digests_of(1), features_of(1))

    assert store.missing(KEY, digests_of(2)) == digests_of(2)[1:]
    assert len(store.read(KEY, digests_of(1)).rows(np.array([0]))) == 2


def test_no_images_are_no_features(tmp_path: Path) -> None:
    """No folder is created for them."""
    store = FeatureStore(tmp_path / "store")
    features = store.read(KEY, [])

    assert len(features) == 0
    assert not (tmp_path / "store").exists()


def test_a_checksum_stands_for_the_features_of_images(tmp_path: Path) -> None:
    """It does not depend on segments, but on the order and the features."""
    whole, divided, others = (FeatureStore(tmp_path / name) for name in ("whole", "divided", "others"))
    whole.write(KEY, digests_of(150), features_of(150))
    for first in (100, 0):
        divided.write(KEY, digests_of(min(100, 150 - first), first), features_of(min(100, 150 - first), first))
    others.write(KEY, digests_of(150), [array + 1 for array in features_of(150)])
    checksum = whole.read(KEY, digests_of(150)).checksum()

    assert divided.read(KEY, digests_of(150)).checksum() == checksum
    assert whole.read(KEY, digests_of(150)[::-1]).checksum() != checksum
    assert others.read(KEY, digests_of(150)).checksum() != checksum


MANY = f"""
import os, resource, sys
from pathlib import Path
import numpy as np
from cnncli.features import segments
from cnncli.features.store import FeatureStore
from tests.features.storing import KEY, digests_of, features_of
segments.sync_file = segments.sync_folder = lambda path: None  # the disk is not what is tested here
store, count = FeatureStore(Path(sys.argv[1])), int(sys.argv[2])
for number in range(count):
    store.write(KEY, digests_of(1, number), features_of(1, number))
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, ({MAX_MAPPED + 60}, hard))
features = FeatureStore(Path(sys.argv[1])).read(KEY, digests_of(count))
assert (features.rows(np.arange(count))[0][:, 0] == np.arange(count)).all()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("count", [400, pytest.param(5000, marks=pytest.mark.slow)])
def test_segments_take_no_file_descriptor_each(tmp_path: Path, count: int) -> None:
    """Thousands of segments can be read by a process that may open 188 files."""
    root = Path(__file__).resolve().parents[2]

    subprocess.run([sys.executable, "-c", MANY, str(tmp_path), str(count)], check=True, cwd=root)
