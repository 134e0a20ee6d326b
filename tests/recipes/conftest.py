"""A cache that the runs of a module share, for modules that ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a cache that the runs of a module share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def shared_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the shared cache in a test. Fixtures of modules set the variable themselves."""
    monkeypatch.setenv("CNNCLI_CACHE", str(cache))
