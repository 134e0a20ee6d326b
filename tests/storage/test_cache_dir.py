"""Where the cache lies."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cnncli.errors import CacheError
from cnncli.storage.cache_dir import cache_dir, make_cache_dir


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


@pytest.mark.parametrize("below", ["", "inside", "deep/inside"])
def test_a_file_in_the_way_of_the_cache_is_one_sentence(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it has the cache's own name or that of a folder above it."""
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("CNNCLI_CACHE", str(file / below))
    with pytest.raises(CacheError) as caught:
        make_cache_dir()

    reason = f"{file} is no folder" if below else "is no folder"
    expected = f"{file / below}: cannot be the cache folder ({reason}). CNNCLI_CACHE names another."
    assert caught.value.problems == (expected,)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a place where nobody can make a folder")
def test_a_cache_that_cannot_be_made_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's own reason."""
    monkeypatch.setenv("CNNCLI_CACHE", "/proc/cnncli")
    with pytest.raises(CacheError, match=r"^/proc/cnncli: cannot be the cache folder \(.+\)\. CNNCLI_CACHE names"):
        make_cache_dir()


def test_the_cache_is_made_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the folders above it; once is enough."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "a" / "b"))

    assert make_cache_dir() == make_cache_dir() == tmp_path / "a" / "b"
    assert cache_dir().is_dir()
