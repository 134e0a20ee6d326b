"""The location of the cache folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cnncli.errors import CacheError
from cnncli.storage.cache_dir import cache_dir, make_cache_dir


def test_the_variable_wins_and_may_name_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CNNCLI_CACHE takes precedence, and `~` in it is expanded."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_dir() == tmp_path
    monkeypatch.setenv("CNNCLI_CACHE", "~/here")
    assert cache_dir() == Path.home() / "here"
    monkeypatch.setenv("CNNCLI_CACHE", "here")
    assert cache_dir() == Path.cwd() / "here"


def test_an_absolute_xdg_folder_comes_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_CACHE_HOME is used next, unless it is relative, as its specification requires."""
    monkeypatch.setenv("CNNCLI_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "cnncli"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir().is_absolute()
    assert "relative" not in cache_dir().parts


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms have other folders")
def test_the_folder_of_the_platform_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform's own cache folder is the default."""
    for name in ("CNNCLI_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_dir() == Path.home() / ".cache" / "cnncli"


@pytest.mark.parametrize("below", ["", "inside", "deep/inside"])
def test_a_file_in_the_way_of_the_cache_is_refused(below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in place of the cache folder, or of a folder above it, is an error."""
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("CNNCLI_CACHE", str(file / below))
    with pytest.raises(CacheError) as caught:
        make_cache_dir()

    assert caught.value.codes == ("cache-folder-unusable",)
    assert caught.value.facts["path"] == file / below
    assert (str(file) in str(caught.value.facts["reason"])) == bool(below)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that cannot be written to")
def test_a_cache_that_cannot_be_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the operating system's reason."""
    monkeypatch.setenv("CNNCLI_CACHE", "/proc/cnncli")
    with pytest.raises(CacheError) as caught:
        make_cache_dir()

    assert caught.value.codes == ("cache-folder-unusable",)
    assert caught.value.facts["path"] == Path("/proc/cnncli")
    assert caught.value.facts["reason"]


def test_the_cache_is_made_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing cache is created with its parent folders; a second call changes nothing."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "a" / "b"))

    assert make_cache_dir() == make_cache_dir() == tmp_path / "a" / "b"
    assert cache_dir().is_dir()
