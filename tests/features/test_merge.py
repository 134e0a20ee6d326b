"""Merging feature caches, whose content is not trusted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cnncli.errors import CacheError
from cnncli.features.merge import Merged, merge_features
from cnncli.features.segments import INDEX, ROWS
from cnncli.features.store import FeatureKey, FeatureStore
from tests.features.storing import KEY, OTHER, digests_of, features_of, segments_in

N = 40


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a cache with the features of forty images under one key."""
    with FeatureStore(tmp_path / "source") as store:
        store.write(KEY, digests_of(N), features_of(N))
    return tmp_path / "source"


def merge(*sources: Path, into: Path, max_bytes: int | None = None) -> Merged:
    """Merge caches, and return the result."""
    merged = Merged()
    with FeatureStore(into, max_bytes) as store:
        for one in sources:
            merge_features(one, store, merged)
    return merged


def read(folder: Path, key: FeatureKey = KEY, n: int = N) -> list[np.ndarray]:
    """Return the cached features of the first images."""
    with FeatureStore(folder) as store:
        return store.read(key, digests_of(n)).rows(np.arange(n))


def test_features_of_all_caches_are_added_once(source: Path, tmp_path: Path) -> None:
    """Caches with parts that overlap, and with other keys, become one cache with the same bits, however often."""
    with FeatureStore(tmp_path / "other") as store:
        store.write(KEY, digests_of(30, 30), features_of(30, 30))
        store.write(OTHER, digests_of(5), features_of(5))
    first = merge(source, tmp_path / "other", into=tmp_path / "all")
    n_segments = len(segments_in(tmp_path / "all"))
    again = merge(source, tmp_path / "other", into=tmp_path / "all")

    assert (len(first.keys), first.added, first.present, first.refused) == (2, N + 20 + 5, 10, [])
    assert (again.added, again.present, again.added_bytes) == (0, N + 30 + 5, 0)
    assert len(segments_in(tmp_path / "all")) == n_segments
    assert all((one == other).all() for one, other in zip(read(tmp_path / "all", n=60), features_of(60), strict=True))


def _cut_rows(segment: Path) -> None:
    (segment / ROWS).write_bytes((segment / ROWS).read_bytes()[:-1])


def _flip_bit(segment: Path) -> None:
    data = bytearray((segment / ROWS).read_bytes())
    data[7] ^= 1
    (segment / ROWS).write_bytes(data)


def _rename(segment: Path) -> None:
    segment.rename(segment.with_name("0" * 32))


def _add_file(segment: Path) -> None:
    (segment / "more.bin").write_bytes(b"1")


def _link_rows(segment: Path) -> None:
    (segment / ROWS).rename(segment.parent.parent.parent / "rows")
    (segment / ROWS).symlink_to(segment.parent.parent.parent / "rows")


def _pipe(segment: Path) -> None:
    (segment / ROWS).unlink()
    os.mkfifo(segment / ROWS)


def _forge(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    """Return a function that changes the index of a segment and names it by its checksum, as an attacker could."""

    def forge(segment: Path) -> None:
        import hashlib

        index = json.loads((segment / INDEX).read_text())
        change(index)
        (segment / INDEX).write_text(json.dumps(index))
        segment.rename(segment.with_name(hashlib.sha256((segment / INDEX).read_bytes()).hexdigest()[:32]))

    return forge


def _as_objects(index: dict[str, object]) -> None:
    index["tensors"] = [{"shape": [18 // 8], "dtype": "object"}]


def _as_huge(index: dict[str, object]) -> None:
    index["tensors"] = [{"shape": [2**40], "dtype": "float32"}]


def _without_tensors(index: dict[str, object]) -> None:
    index["tensors"] = []


DAMAGE = [
    *(_cut_rows, _flip_bit, _rename, _add_file, _link_rows, _pipe),
    *(_forge(_as_objects), _forge(_as_huge), _forge(_without_tensors), _forge(lambda index: index.pop("sha256"))),
    _forge(lambda index: index.update(digests="zz")),
]


@pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_or_forged_segment_is_refused(source: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """A segment that is damaged, linked, blocked or forged is refused, and the others are merged."""
    with FeatureStore(source) as store:
        store.write(KEY, digests_of(10, 100), features_of(10, 100))
    (bad, _) = segments_in(source)
    n_bad = json.loads((bad / INDEX).read_text())["rows"]
    damage(bad)
    merged = merge(source, into=tmp_path / "all")

    assert [problem.code for problem in merged.refused] == ["cache-merge-damaged"]
    assert merged.added == N + 10 - n_bad


def test_foreign_files_are_refused(source: Path, tmp_path: Path) -> None:
    """Files and links that are not part of a feature cache are named, and the rest is merged."""
    (source / "notes.txt").write_text("hello")
    (source / ("a" * 32)).symlink_to(tmp_path)
    (source / KEY.name / "setup.py").write_text("1 / 0")
    (source / KEY.name / ".0123").mkdir()  # left by a killed process
    merged = merge(source, into=tmp_path / "all")

    assert {problem.code for problem in merged.refused} == {"cache-merge-foreign"}
    assert sorted(problem.facts["path"].name for problem in merged.refused) == ["a" * 32, "notes.txt", "setup.py"]
    assert merged.added == N


def test_a_key_must_be_named_by_its_recipe(source: Path, tmp_path: Path) -> None:
    """Features under the name of another key are refused."""
    shutil.move(source / KEY.name, source / OTHER.name)
    merged = merge(source, into=tmp_path / "all")

    assert [problem.code for problem in merged.refused] == ["cache-merge-damaged"]
    assert (merged.added, merged.keys) == (0, set())


def test_cached_features_are_never_replaced(source: Path, tmp_path: Path) -> None:
    """Features that differ in one bit from cached ones are refused, and the cached ones are kept."""
    other = features_of(N)
    other[1][3, 0, 0] ^= 1
    with FeatureStore(tmp_path / "other") as store:
        store.write(KEY, digests_of(N), other)
    merged = merge(source, tmp_path / "other", into=tmp_path / "all")

    assert [problem.code for problem in merged.refused] == ["cache-merge-conflict"]
    assert all((one == kept).all() for one, kept in zip(read(tmp_path / "all"), features_of(N), strict=True))


@pytest.mark.parametrize("first", [0, N], ids=["the same images", "other images"])
@pytest.mark.parametrize(
    "other",
    [features_of(N)[:1], [one.astype(np.uint8) for one in features_of(N)], [one[:, :1] for one in features_of(N)]],
    ids=["tensors", "dtype", "shape"],
)
def test_features_of_another_record_are_refused(
    source: Path, tmp_path: Path, other: list[np.ndarray], first: int
) -> None:
    """Features whose tensors differ in number, dtype or shape from cached ones are refused, whatever their images."""
    with FeatureStore(tmp_path / "other") as store:
        store.write(KEY, digests_of(N, first), other)
    merged = merge(source, tmp_path / "other", into=tmp_path / "all")

    assert [problem.code for problem in merged.refused] == ["cache-merge-record"]
    assert len(segments_in(tmp_path / "all")) == 1


def test_a_merge_that_does_not_fit_fails(source: Path, tmp_path: Path) -> None:
    """A merge that would exceed the cap fails instead of evicting what it has just merged."""
    with pytest.raises(CacheError) as caught:
        merge(source, into=tmp_path / "all", max_bytes=100)

    assert caught.value.code == "cache-too-small"
    assert caught.value.facts["expected"] == 100


def test_another_processor_is_noted(tmp_path: Path) -> None:
    """The processor of features that this machine would not use is noted."""
    key = FeatureKey({"trunk": "t", "engine": {"processor": "Other CPU"}, "view": {}})
    with FeatureStore(tmp_path / "source") as store:
        store.write(key, digests_of(2), features_of(2))

    assert merge(tmp_path / "source", into=tmp_path / "all").foreign == {"Other CPU"}
