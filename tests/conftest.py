"""Fixtures for every room: tiny images drawn on the spot, and the real ones where they are at hand."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and weights beside the project; skips, saying so, where it is absent."""
    if not (SHARED / "data" / "dogs-vs-cats").is_dir():
        pytest.skip("needs the real photographs and weights in ../shared, which are not on this machine")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """As on a terminal: who starts the tests in the background ignores it, and so would all that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _private_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own cache, weights or runs."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CNNCLI_CACHE", str(home / "cache"))
    monkeypatch.setenv("CNNCLI_RUNS", str(home / "runs"))
    monkeypatch.setenv("KERAS_HOME", str(home / "keras"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, so that the other processes have something to do until it is over."""
    items.sort(key=lambda item: "test_trainings.py" not in item.nodeid)
