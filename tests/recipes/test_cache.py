"""The cache can be listed and cleared."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from cnncli.dataset.stat_index import StatIndex
from cnncli.engines.build import converted_graph, graphs_in_use
from cnncli.errors import ConfigError
from cnncli.features.eviction import Cleared
from cnncli.features.segments import DESCRIPTION
from cnncli.features.store import FeatureStore
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.recipes.cache import clear_cache, list_cache
from tests.features.storing import KEY, OTHER, digests_of, features_of
from tests.support.drawing import tiny_config

DAY_S = 86400
OLD = time.time() - 40 * DAY_S


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return a cache of two keys, a converted graph and an image index; all but the second key are forty days old."""
    for key in (KEY, OTHER):
        with FeatureStore(tmp_path / "features") as store:
            store.write(key, digests_of(50), features_of(50))
    graph = tmp_path / "graphs" / "g-1"
    graph.mkdir(parents=True)
    (graph / "trunk.bin").write_bytes(bytes(3000))
    (tmp_path / "images.sqlite").write_bytes(bytes(500))
    description = tmp_path / "features" / KEY.name / DESCRIPTION
    for path in (description, graph / "trunk.bin", graph, tmp_path / "images.sqlite"):
        os.utime(path, (OLD, OLD))
    return tmp_path


def test_everything_is_listed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are listed by key, graphs and index as a whole; the environment can set the cap."""
    monkeypatch.setenv("CNNCLI_SEED", "no")
    monkeypatch.setenv("CNNCLI_CACHE__MAX_GB", "2")
    contents = list_cache(cache)

    assert [key.images for key in contents.features] == [50, 50]
    assert contents.max_bytes == 2_000_000_000
    assert (contents.graphs, contents.graphs_bytes, contents.index_bytes) == (1, 3000, 500)
    monkeypatch.delenv("CNNCLI_CACHE__MAX_GB")
    assert list_cache(cache).max_bytes > 0


def test_an_invalid_cap_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid cap in the environment is an error, as in a config."""
    monkeypatch.setenv("CNNCLI_CACHE__MAX_GB", "0")
    with pytest.raises(ConfigError, match=r"cache\.max_gb: out of range"):
        list_cache(Path("nowhere"))


def test_clearing_empties_the_cache(cache: Path) -> None:
    """Clearing returns the size of the deleted entries."""
    contents = list_cache(cache)
    cleared = clear_cache(cache)

    assert cleared.freed_bytes == contents.features_bytes + 3000 + 500
    assert list_cache(cache).features_bytes == 0
    assert clear_cache(cache) == Cleared(0, 0)


def test_entries_in_use_are_kept(cache: Path) -> None:
    """Open keys are kept, and so are all graphs while one is in use."""
    with FeatureStore(cache / "features") as store, graphs_in_use(cache / "graphs"):
        features = store.read(OTHER, digests_of(50))
        cleared = clear_cache(cache)

        assert cleared.pinned_bytes > 3000
        assert cleared.freed_bytes > 500
        assert (features.rows(np.arange(50))[0][:, 0] == np.arange(50)).all()
        assert (cache / "graphs" / "g-1" / "trunk.bin").exists()
    del features
    assert clear_cache(cache) == Cleared(cleared.pinned_bytes, 0)


def test_recently_used_entries_can_be_kept(cache: Path) -> None:
    """Each entry is kept or deleted by the time of its last use."""
    with FeatureStore(cache / "features") as store:
        assert store.missing(OTHER, digests_of(50)) == []
    cleared = clear_cache(cache, used_before=time.time() - 30 * DAY_S)

    assert cleared.freed_bytes > 3500
    with FeatureStore(cache / "features") as store:
        assert store.missing(OTHER, digests_of(50)) == []
        assert store.missing(KEY, digests_of(50)) == digests_of(50)
    assert not list((cache / "graphs").glob("g-*"))


def test_clearing_a_missing_cache_creates_nothing(tmp_path: Path) -> None:
    """A missing cache counts as empty and is not created."""
    assert clear_cache(tmp_path / "cache") == Cleared(0, 0)
    assert list_cache(tmp_path / "cache").features == ()
    assert not (tmp_path / "cache").exists()


def _age(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (OLD, OLD))


def test_a_recently_used_graph_is_kept(tmp_path: Path) -> None:
    """A graph that was converted long ago but used recently is kept."""
    trunk = cut_classifier(build_classifier(tiny_config(Path("unused")), 2), 0).trunk
    used, unused = (converted_graph(trunk, name * 64, tmp_path / "graphs").parent for name in "ab")
    for folder in (used, unused):
        _age(*folder.iterdir(), folder)
    converted_graph(trunk, "a" * 64, tmp_path / "graphs")
    clear_cache(tmp_path, used_before=time.time() - 30 * DAY_S)

    assert (used.exists(), unused.exists()) == (True, False)


@pytest.mark.parametrize("is_read", [True, False])
def test_a_recently_read_index_is_kept(tmp_path: Path, is_read: bool) -> None:
    """An index that was read recently is kept, even if nothing was written to it."""
    index = StatIndex(tmp_path / "images.sqlite")
    list(index.below(tmp_path))
    _age(index.path)
    if is_read:
        list(index.below(tmp_path))
    clear_cache(tmp_path, used_before=time.time() - 30 * DAY_S)

    assert index.path.exists() == is_read


def test_entries_deleted_meanwhile_are_left_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that another process deletes during the listing are omitted."""
    monkeypatch.setattr("cnncli.recipes.cache.subfolders", lambda _: [cache / "graphs" / "gone"])

    assert list_cache(cache).graphs_bytes == 0
