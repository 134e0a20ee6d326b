"""`scripts/measure_near_duplicates.py` finds planted copies."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from scripts.measure_near_duplicates import CHANGES, main
from tests.images.making import drawn_image, encoded, write_tree


def test_every_kind_of_copy_is_measured(tmp_path: Path) -> None:
    """The table has the recall of each kind of copy, and lists copies among the images."""
    files = {f"{k}.png": encoded(drawn_image(48, 64, seed=k)) for k in range(12)}
    write_tree(tmp_path, {**files, "copy.jpg": encoded(drawn_image(48, 64, seed=3), "JPEG")})
    done = CliRunner().invoke(main, [str(tmp_path), "--count", "5"], catch_exceptions=False)
    lines = done.output.splitlines()
    assert all(any(line.startswith(name) and line.endswith("%") for line in lines) for name in CHANGES)
    assert next(line for line in lines if line.startswith("recompressed, quality 50")).endswith("100.0%")
    assert lines[-2] == "pairs that pass, of 78: 1"
    assert lines[-1].endswith(f"{tmp_path}/3.png {tmp_path}/copy.jpg")


def test_the_speed_is_measured() -> None:
    """The search finds all planted copies in other splits."""
    done = CliRunner().invoke(main, ["--speed", "2000"], catch_exceptions=False)
    first, second = done.output.splitlines()
    assert first.startswith("2,000 images, across splits: ")
    assert second.startswith("2,000 images, all pairs: ")
    assert ", 100 pairs, memory at most " in first
