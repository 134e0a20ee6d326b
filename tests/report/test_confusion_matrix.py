"""Confusion matrices can be read with two classes and with a hundred and more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli.report.confusion_matrix import MOST_CLASSES, Matrix, draw_confusion_matrix


def draw(counts: np.ndarray, names: list[str], path: Path) -> np.ndarray:
    """Draw a matrix, and return its pixels."""
    draw_confusion_matrix(counts.tolist(), names, "run: test", path / "confusion.png")
    with Image.open(path / "confusion.png") as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_right_is_blue_and_wrong_is_orange(tmp_path: Path) -> None:
    """Cells of the diagonal are blue, others orange, and cells without images white."""
    pixels = draw(np.array([[50, 0], [10, 40]]), ["cat", "dog"], tmp_path)
    blue, orange = (pixels[..., 2] - pixels[..., 0]) > 60, (pixels[..., 0] - pixels[..., 2]) > 60
    rows, columns = (np.argwhere(color) for color in (blue, orange))

    assert len(rows) > 2 * 40**2
    assert 40**2 < len(columns) < 56**2
    assert columns[:, 0].mean() > rows[:, 0].mean()
    assert columns[:, 1].mean() < rows[:, 1].mean()


@pytest.mark.parametrize("n", [2, 12, 30, 60, 117, 150])
def test_every_class_has_room_for_its_name(n: int, tmp_path: Path) -> None:
    """A row is at least 15 pixels high, and the whole matrix fits on a large screen."""
    random = np.random.default_rng(0)
    counts = random.poisson(0.2, (n, n)) + np.diag(random.integers(20, 60, n))
    pixels = draw(counts, [f"class number {k} of many" for k in range(n)], tmp_path)

    assert n * 15 < pixels.shape[0] <= 2700
    assert n * 15 < pixels.shape[1] <= 2700
    diagonal = (pixels[..., 2] - pixels[..., 0]) > 60
    assert len(np.unique(np.argwhere(diagonal)[:, 0])) >= 0.9 * n * 14


def test_one_wrong_image_among_a_thousand_is_visible(tmp_path: Path) -> None:
    """A cell with a single image differs from an empty one."""
    pixels = draw(np.array([[999, 1], [0, 1000]]), ["cat", "dog"], tmp_path)

    assert ((pixels[..., 0] - pixels[..., 2]) > 20).sum() > 40**2


def test_of_too_many_classes_those_with_mistakes_are_kept() -> None:
    """Classes that are always right are added up in one row; no image is lost."""
    n = MOST_CLASSES + 50
    counts = np.diag(np.full(n, 3))
    counts[7, 190] = 2
    matrix = Matrix.of(counts.tolist(), [f"c{k}" for k in range(n)])

    assert len(matrix.names) == MOST_CLASSES + 1
    assert {"c7", "c190", "50 other"} <= set(matrix.names)
    assert matrix.counts.sum() == counts.sum()
    assert matrix.counts[matrix.names.index("c7"), matrix.names.index("c190")] == 2
