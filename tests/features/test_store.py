"""Writing features to the cache and reading them back."""

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
    """Rows of several tensors and of any dtype are read back bit for bit, in any order."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 200, shape).astype(dtype) for shape in ((5, 3), (5, 2, 2), (5,))]
    FeatureStore(tmp_path).write(KEY, digests_of(5), arrays)
    features = FeatureStore(tmp_path).read(KEY, digests_of(5))

    for got, put in zip(features.rows(np.array([4, 0, 4])), arrays, strict=True):
        assert got.dtype == put.dtype
        assert got.tobytes() == put[[4, 0, 4]].tobytes()


def test_rows_may_be_strided(tmp_path: Path) -> None:
    """Strided arrays, such as views of an engine's buffer, are written correctly."""
    array = np.arange(24.0).reshape(4, 6)[::2, ::3]
    FeatureStore(tmp_path).write(KEY, digests_of(2), [array])

    assert (FeatureStore(tmp_path).read(KEY, digests_of(2)).rows(np.arange(2))[0] == array).all()


def test_images_are_found_across_segments(tmp_path: Path) -> None:
    """Features in several segments are read together, by the store that wrote them and by another store."""
    store = FeatureStore(tmp_path)
    for first in (0, 2, 4):
        store.write(KEY, digests_of(2, first), features_of(2, first))
    for reader in (store, FeatureStore(tmp_path)):
        features = reader.read(KEY, digests_of(6)[::-1])

        assert features.rows(np.arange(6))[0][:, 0].tolist() == [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]


def test_missing_images_are_returned_once(tmp_path: Path) -> None:
    """The digest of a missing image is returned once, even if the image is requested several times."""
    store = FeatureStore(tmp_path)

    assert store.missing(KEY, digests_of(3) + digests_of(3)) == digests_of(3)
    store.write(KEY, digests_of(1), features_of(1))
    assert store.missing(KEY, digests_of(3) + digests_of(3)) == digests_of(3)[1:]


def test_segments_of_another_store_are_found(tmp_path: Path) -> None:
    """Segments written by another store are found, even after an earlier search."""
    mine, other = FeatureStore(tmp_path), FeatureStore(tmp_path)
    other.write(KEY, digests_of(1), features_of(1))
    assert mine.missing(KEY, digests_of(2)) == digests_of(2)[1:]
    other.write(KEY, digests_of(1, 1), features_of(1, 1))

    assert mine.missing(KEY, digests_of(2)) == []


def test_a_different_recipe_is_a_different_key(tmp_path: Path) -> None:
    """Features are found only under a key with the same recipe; descriptive facts are not part of it."""
    store = FeatureStore(tmp_path)
    store.write(KEY, digests_of(1), features_of(1))

    assert store.missing(OTHER, digests_of(1)) == digests_of(1)
    assert store.missing(FeatureKey(KEY.recipe, {"network": "VGG16"}), digests_of(1)) == []


def test_missing_features_are_an_error(tmp_path: Path) -> None:
    """Reading deleted features raises an error with the number found; they are then reported as missing."""
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
    """A segment that is truncated after it was opened raises an error when its rows are read."""
    FeatureStore(tmp_path).write(KEY, digests_of(2), features_of(2))
    features = FeatureStore(tmp_path).read(KEY, digests_of(2))
    (segment,) = segments_in(tmp_path)
    os.truncate(segment / "rows.bin", 3)
    with pytest.raises(CacheError) as caught:
        features.rows(np.arange(2))

    assert (caught.value.code, caught.value.facts["path"]) == ("cache-features-missing", segment)


def test_a_cache_whose_folder_was_deleted_is_still_usable(tmp_path: Path) -> None:
    """If the cache folder is deleted, an open store can still write and read new features."""
    store = FeatureStore(tmp_path / "store")
    store.write(KEY, digests_of(2), features_of(2))
    shutil.rmtree(tmp_path / "store")
    store.write(KEY, digests_of(1), features_of(1))

    assert store.missing(KEY, digests_of(2)) == digests_of(2)[1:]
    assert len(store.read(KEY, digests_of(1)).rows(np.array([0]))) == 2


def test_reading_no_images_returns_no_features(tmp_path: Path) -> None:
    """Reading no images returns empty features and creates no folder."""
    store = FeatureStore(tmp_path / "store")
    features = store.read(KEY, [])

    assert len(features.rows_of) == 0
    assert not (tmp_path / "store").exists()


def test_a_checksum_depends_on_features_and_order(tmp_path: Path) -> None:
    """A checksum depends on the features and their order, but not on their division into segments."""
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
segments.sync_file = segments.sync_folder = lambda path: None  # skipped for speed
store, count = FeatureStore(Path(sys.argv[1])), {MAX_MAPPED + 80}
for number in range(count):
    store.write(KEY, digests_of(1, number), features_of(1, number))
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, ({MAX_MAPPED + 60}, hard))
features = FeatureStore(Path(sys.argv[1])).read(KEY, digests_of(count))
assert (features.rows(np.arange(count))[0][:, 0] == np.arange(count)).all()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_open_segments_use_few_file_descriptors(tmp_path: Path) -> None:
    """A process can read more segments than it is allowed to have open files."""
    root = Path(__file__).resolve().parents[2]

    subprocess.run([sys.executable, "-c", MANY, str(tmp_path)], check=True, cwd=root)
