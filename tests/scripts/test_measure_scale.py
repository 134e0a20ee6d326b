"""The script that measures many images runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.measure_scale import STEPS, main


def test_files_and_shards_are_compared(tmp_path: Path) -> None:
    """The same images are written as files and in shards, and both are indexed and decoded."""
    found = CliRunner().invoke(main, ["stream", str(tmp_path), "--images", "40"], catch_exceptions=False)

    assert found.exit_code == 0
    assert "index of 40 shards" in found.output
    assert "rate of shards / rate of files" in found.output


def test_every_step_of_a_manifest_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps work on the files that earlier ones have written."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path))  # restored afterwards: the steps set it
    for step in STEPS.values():
        step(300, tmp_path)

    assert (tmp_path / "manifest.csv").read_text().count("\n") == 301
