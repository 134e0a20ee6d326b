"""Figures and animations of demonstrations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from cnncli.explanation.convolution import course_convolution, course_pooling, volume_convolution
from cnncli.report.animation import draw_animation
from cnncli.report.demo_figures import Tile, draw_pixels, draw_receptive_fields, draw_tile_figure


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_an_animation_has_a_frame_per_output(tmp_path: Path, suffix: str) -> None:
    """Row 191: an animation has one frame per output, of equal size, and successive frames differ."""
    path = tmp_path / f"steps.{suffix}"

    assert draw_animation(course_convolution(), path) == 9
    with Image.open(path) as image:
        assert image.n_frames == 9
        frames = []
        for number in range(9):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
    assert len({frame.tobytes() for frame in frames}) == 9


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_frames_have_one_size(tmp_path: Path, suffix: str) -> None:
    """Frames are of equal size, though the formulas of the outputs differ in length."""
    path = tmp_path / f"steps.{suffix}"
    worked = volume_convolution(size=7, kernel=4, stride=1, padding=1, depth=1, filters=1)

    assert len({len(worked.formula(*step)) for step in worked.steps()}) > 1
    assert draw_animation(worked, path) == 36
    with Image.open(path) as image:
        assert image.n_frames == 36
        assert len({frame.size for frame in ImageSequence.Iterator(image)}) == 1


def test_volumes_and_pooling_are_animated(tmp_path: Path) -> None:
    """Rows 58 and 192: volumes with several channels and filters, and pooling, are drawn as well."""
    assert draw_animation(volume_convolution(), tmp_path / "volume.gif") == 18
    assert draw_animation(course_pooling(), tmp_path / "pooling.gif") == 4


def test_figures_are_written(tmp_path: Path) -> None:
    """Rows 98, 181 and 190: tiles with and without color, pixels with numbers, and nested receptive fields."""
    gray = np.arange(64).reshape(8, 8)
    tiles = [Tile("color", np.zeros((8, 8, 3), np.uint8)), Tile("gray", gray), Tile("signed", gray - 30, "1 0\n0 1")]
    draw_tile_figure(tiles, tmp_path / "tiles.png", columns=2)
    draw_pixels(gray, tmp_path / "pixels.svg")
    draw_receptive_fields([3, 5, 7], tmp_path / "fields.png")

    assert all(path.stat().st_size > 2000 for path in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 3
