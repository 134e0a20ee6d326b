"""`cnncli cache`: locating, listing and clearing the feature cache."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cnncli.cli import main
from cnncli.features.store import FeatureStore
from tests.features.storing import KEY, digests_of, features_of


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache folder, with the features of fifty images."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path))
    monkeypatch.setenv("CNNCLI_CACHE__MAX_GB", "1.5")
    with FeatureStore(tmp_path / "features") as store:
        store.write(KEY, digests_of(50), features_of(50))
    return tmp_path


def test_where_prints_only_a_path(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cache where` prints only the path, so that it works in `du -sh "$(cnncli cache where)"`."""
    assert main(["cache", "where"]) == 0
    assert capsys.readouterr() == (f"{cache}\n", "")


def test_the_list_ends_with_the_total(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cache list` prints a table, followed by the total size and its limit, to stdout."""
    assert main(["cache", "list"]) == 0
    captured = capsys.readouterr()
    header, line, total = captured.out.splitlines()

    assert re.split(r" {2,}", header)[:5] == ["features of", "cut after", "view", "augmented", "engine"]
    assert re.sub(r" +", " ", line).startswith("network t – 0 – – – – 50 4.5 kB ")
    assert total == "features 4.5 kB of at most 1.5 GB"
    assert captured.err == ""


def test_an_empty_cache_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For an empty cache, only the line with the total is printed, without a table header."""
    assert main(["cache", "list"]) == 0
    assert re.fullmatch(r"features 0 B of at most \S+ .B\n", capsys.readouterr().out)


def test_json_has_every_fact(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cache list --json` prints the folder, the limit in bytes, and the name and number of images of each entry."""
    assert main(["cache", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)

    assert (listed["folder"], listed["max_bytes"]) == (str(cache), 1_500_000_000)
    assert listed["features"][0]["images"] == 50
    assert listed["features"][0]["name"] == KEY.name


def test_clear_prints_the_freed_size(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cache clear` reports the size it freed, and keeps and reports entries in use by running commands."""
    with FeatureStore(cache / "features") as store:
        store.missing(KEY, digests_of(1))
        assert main(["cache", "clear"]) == 0
        assert capsys.readouterr().out == "freed 0 B; 4.5 kB in use by running commands were kept\n"
    assert main(["cache", "clear", "--older-than", "0.5"]) == 0
    assert capsys.readouterr().out == "freed 0 B\n"
    assert main(["cache", "clear", "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["freed_bytes"] > 4000


def test_a_negative_age_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A negative --older-than is refused with exit code 2."""
    assert main(["cache", "clear", "--older-than", "-1"]) == 2
    assert "--older-than" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["list", "clear"])
@pytest.mark.parametrize("below", ["", "inside"])
def test_a_file_is_not_an_empty_cache(
    verb: str, below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If CNNCLI_CACHE is a file or lies inside a file, the command reports this path in one line and exits with 2."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "file" / below))

    assert main(["cache", verb]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {tmp_path / 'file' / below}: ")
    assert captured.err.count("\n") == 1
