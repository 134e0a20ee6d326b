"""Where the cache lies."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cnncli.folders import cache_dir


def test_variable_wins_and_may_name_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CNNCLI_CACHE is the folder itself."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_dir() == tmp_path
    monkeypatch.setenv("CNNCLI_CACHE", "~/here")
    assert cache_dir() == Path.home() / "here"
    monkeypatch.setenv("CNNCLI_CACHE", "here")
    assert cache_dir() == Path.cwd() / "here"


def test_xdg_folder_comes_next_if_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As its specification asks."""
    monkeypatch.setenv("CNNCLI_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "cnncli"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir().is_absolute()
    assert "relative" not in cache_dir().parts


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", ".cache/cnncli"), ("darwin", "Library/Caches/cnncli"), ("win32", "AppData/Local/cnncli/Cache")],
)
def test_platform_folder_comes_last(monkeypatch: pytest.MonkeyPatch, platform: str, expected: str) -> None:
    """Each platform has its own place for what can be computed again."""
    for name in ("CNNCLI_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_dir() == Path.home() / expected
