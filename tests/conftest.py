"""Fixtures shared by all tests: drawn images, real photographs, private folders, signal handling."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.drawing import draw_dataset

settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("thorough", max_examples=300, deadline=None)
settings.load_profile("quick")  # or --hypothesis-profile=thorough

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real photographs and weights next to the project, or skip the test."""
    if not (SHARED / "data" / "dogs-vs-cats").is_dir():
        pytest.skip("needs real photographs and weights in ../shared")
    return SHARED


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots. Modules that need another number or other images have their own `data`."""
    return draw_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """Restore the handling of Ctrl-C, which shells disable for background jobs and their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_fsync() -> Iterator[None]:
    """Do not wait for the disk: only a loss of power shows the difference, and a small training waits 30 times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_new_processes() -> Iterator[None]:
    """Do not verify each trained run in new processes, which import Keras; tests of that call `verifying`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnncli.recipes.train.verifying", lambda *_: nullcontext())
        yield


@pytest.fixture(autouse=True)
def _private_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests from reading or writing the user's cache, weights or runs."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CNNCLI_CACHE", str(home / "cache"))
    monkeypatch.setenv("CNNCLI_RUNS", str(home / "runs"))
    monkeypatch.setenv("KERAS_HOME", str(home / "keras"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests, marked `first`, before all others, so that all processes stay busy until the end."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)
