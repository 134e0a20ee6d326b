"""A cache that the runs of a module share, and a finished run, for modules that ask for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncli.recipes.train import Run, train
from cnncli.terminal.console import Console
from tests.support.drawing import tiny_config


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a cache that the runs of a module share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Solve a head on the features of a frozen network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(cache))
        return train(tiny_config(data, training={}), tmp_path_factory.mktemp("runs"), Console(quiet=True))


@pytest.fixture
def shared_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the shared cache in a test. Fixtures of modules set the variable themselves."""
    monkeypatch.setenv("CNNCLI_CACHE", str(cache))
