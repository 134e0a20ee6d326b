"""Fixtures of all tests: private folders, signals, and the folder of real photographs."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real photographs and weights next to the project, or skip the test."""
    if not (SHARED / "data" / "dogs-vs-cats").is_dir():
        pytest.skip("needs real photographs and weights in ../shared")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """Handle Ctrl-C as on a terminal; a shell lets background jobs and their children ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _private_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests from reading or writing the user's cache, weights or runs."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CNNCLI_CACHE", str(home / "cache"))
    monkeypatch.setenv("CNNCLI_RUNS", str(home / "runs"))
    monkeypatch.setenv("KERAS_HOME", str(home / "keras"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests marked `first`, the longest, so that the other processes share the rest."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)
