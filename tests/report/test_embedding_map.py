"""The map of images, and the colors of explanations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli.report.embedding_map import (
    COLORS,
    GAP,
    HEAD,
    MARGIN,
    SIDE,
    THUMBNAIL,
    MapPoint,
    choose_thumbnails,
    class_colors,
    draw_embedding_map,
)
from cnncli.report.explanation_figure import overlay_heat, overlay_signed, show_gradients


def test_thumbnails_do_not_overlap() -> None:
    """Chosen thumbnails keep their distance, no other one would fit, and the choice is reproducible."""
    places = np.random.default_rng(0).random((300, 2)) * 600
    chosen = choose_thumbnails(places)
    distances = np.abs(places[:, None] - places[chosen][None]).max(axis=2)

    assert len(chosen) > 20
    assert (distances[chosen] + 1e9 * np.eye(len(chosen)) >= THUMBNAIL + GAP).all()
    assert (distances.min(axis=1) < THUMBNAIL + GAP).all()
    assert choose_thumbnails(places) == chosen


def test_every_image_has_a_dot_or_a_thumbnail_in_the_color_of_its_class(tmp_path: Path) -> None:
    """A thumbnail is drawn with a border in the color of its class, and a dot where there is no image."""
    points = [MapPoint(0.0, 0.0, "cats"), MapPoint(1.0, 0.5, "dogs")]
    white = np.full((64, 64, 3), 255, np.uint8)
    draw_embedding_map(points, lambda n: white if n == 0 else None, "Title", "details", tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    first, second = (tuple(int(color[k : k + 2], 16) for k in (1, 3, 5)) for color in COLORS[:2])

    assert tuple(pixels[HEAD + 1, MARGIN + 1]) == first
    assert tuple(pixels[HEAD + THUMBNAIL // 2, MARGIN + THUMBNAIL // 2]) == (255, 255, 255)
    y = HEAD + THUMBNAIL // 2 + round(0.5 * (SIDE - THUMBNAIL))
    assert tuple(pixels[y, MARGIN + SIDE - THUMBNAIL // 2]) == second


@pytest.mark.parametrize("n", [2, 8, 9, 117])
def test_classes_have_different_colors(n: int) -> None:
    """No two classes have the same color."""
    assert len(set(class_colors([f"{k}" for k in range(n)]).values())) == n


def test_many_classes_are_drawn(tmp_path: Path) -> None:
    """A map of 117 classes with long names, one of them empty, is drawn."""
    points = [MapPoint(n / 116, (n * 7 % 117) / 116, "long name " * 9 + f"{n}" if n else "") for n in range(117)]
    draw_embedding_map(points, lambda n: None, "Title", "details", tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 10_000


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_maps_are_drawn_over_the_image(channels: int) -> None:
    """The image shows through zeros of a map, and the color of the map covers its maximum."""
    pixels = np.full((20, 30, channels), 128, np.uint8)
    values = np.zeros((20, 30))
    values[5:9, 5:9] = 1
    signed = values.copy()
    signed[15:19, 15:19] = -1
    heat, both = overlay_heat(pixels, values), overlay_signed(pixels, signed)

    assert heat.shape == both.shape == (20, 30, 3)
    assert (heat[0, 0] == 128).all()
    assert (heat[6, 6] != heat[0, 0]).any()
    assert both[6, 6, 0] > both[6, 6, 2]  # red speaks for the class
    assert both[16, 16, 2] > both[16, 16, 0]


def test_gradients_are_drawn_around_gray() -> None:
    """A gradient of 0 is gray, a positive one brighter, a negative one darker."""
    gradients = np.zeros((20, 20, 3))
    gradients[3, 3], gradients[4, 4] = 1e-4, -1e-4
    shown = show_gradients(gradients)

    assert (shown[0, 0] == 128).all()
    assert (shown[3, 3] > 128).all()
    assert (shown[4, 4] < 128).all()
