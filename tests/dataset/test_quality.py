"""Images of bad quality are found, and others are not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnncli.config.data_settings import DataConfig
from cnncli.dataset.quality import find_quality_issues, measure_sharpness
from cnncli.dataset.records import ImageRecord
from cnncli.dataset.verification import add_facts
from cnncli.terminal.console import Console

CONSOLE = Console(quiet=True)


def _scene(seed: int, height: int = 180, width: int = 240) -> NDArray[np.uint8]:
    """Draw random sharp shapes in many colors."""
    random, pixels = np.random.default_rng(seed), np.full((height, width, 3), 120, np.uint8)
    for _ in range(60):
        x, y, radius = random.integers(0, width), random.integers(0, height), random.integers(4, 30)
        cv2.circle(pixels, (int(x), int(y)), int(radius), random.integers(0, 256, 3).tolist(), -1)
    return pixels


def _records(folder: Path, images: dict[str, NDArray[np.uint8]], labels: dict[str, str]) -> list[ImageRecord]:
    rows = []
    for name, pixels in images.items():
        Image.fromarray(pixels).save(folder / name)
        rows.append(ImageRecord(str(folder / name), (labels.get(name, "a"),), "train"))
    return add_facts(rows, DataConfig(path=folder), CONSOLE)


def _found(folder: Path, images: dict[str, NDArray[np.uint8]], labels: dict[str, str] | None = None) -> set[str]:
    rows = _records(folder, images, labels or {})
    issues = find_quality_issues(rows, DataConfig(path=folder), CONSOLE)
    return {f"{issue.row.path.name}: {issue.problem}" for issue in issues if issue.describe()}


def test_each_problem_is_found_and_nothing_else(tmp_path: Path) -> None:
    """A dark, a bright, a blurry, a tiny and a narrow image are found by name; ordinary scenes are not."""
    scenes = {f"{seed}.png": _scene(seed) for seed in range(8)}
    bad = {
        "dark.png": _scene(20) // 5,
        "bright.png": 255 - _scene(21) // 30,
        "blurry.png": cv2.GaussianBlur(_scene(22), (0, 0), 6),
        "tiny.png": _scene(23)[:30, :40],
        "narrow.png": _scene(24, 400, 100),
    }

    assert _found(tmp_path, {**scenes, **bad}) == {
        "dark.png: dark",
        "bright.png: bright",
        "blurry.png: blurry",
        "tiny.png: odd size",
        "narrow.png: odd shape",
    }


def test_copies_are_found_with_the_same_and_with_another_label(tmp_path: Path) -> None:
    """An identical file and a brightened copy are duplicates; a copy with another label is reported as such."""
    images = {f"{seed}.png": _scene(seed) for seed in range(5)}
    images["same.png"] = images["0.png"]
    images["brighter.png"] = np.minimum(images["1.png"].astype(int) * 1.1, 255).astype(np.uint8)
    images["other.png"] = np.minimum(images["2.png"].astype(int) + 9, 255).astype(np.uint8)

    assert _found(tmp_path, images, {"other.png": "b"}) == {
        "same.png: duplicate",
        "brighter.png: duplicate",
        "other.png: two labels",
    }


def test_a_shape_that_is_usual_is_not_odd(tmp_path: Path) -> None:
    """Images that are all narrow have no odd shape."""
    assert _found(tmp_path, {f"{seed}.png": _scene(seed, 400, 100) for seed in range(6)}) == set()


def test_an_image_that_disappears_is_left_out(tmp_path: Path) -> None:
    """A file that is deleted after the manifest was made has no problem of quality, and the others are measured."""
    rows = _records(tmp_path, {f"{seed}.png": _scene(seed) // (8 if seed == 3 else 1) for seed in range(4)}, {})
    rows[0].path.unlink()
    issues = find_quality_issues(rows, DataConfig(path=tmp_path), CONSOLE)

    assert [(issue.row.path.name, issue.problem) for issue in issues] == [("3.png", "dark")]
    assert find_quality_issues(rows[:1], DataConfig(path=tmp_path), CONSOLE) == []


def test_an_odd_size_is_larger_or_smaller(tmp_path: Path) -> None:
    """The text tells whether an image has too many or too few pixels."""
    scenes = {f"{seed}.png": _scene(seed, 60, 80) for seed in range(5)}
    rows = _records(tmp_path, {**scenes, "large.png": _scene(5, 240, 320), "tiny.png": _scene(6, 15, 20)}, {})
    issues = [one for one in find_quality_issues(rows, DataConfig(path=tmp_path), CONSOLE) if one.problem == "odd size"]
    texts = {issue.row.path.name: issue.describe() for issue in issues}

    assert texts == {
        "large.png": "320 × 240 pixels, 16 times the median area",
        "tiny.png": "20 × 15 pixels, 1/16 of the median area",
    }


def test_the_worst_come_first(tmp_path: Path) -> None:
    """Problems are listed by kind, and the darkest image first."""
    images = {f"{k}.png": _scene(k) // k for k in (4, 9, 6)}
    issues = find_quality_issues(_records(tmp_path, images, {}), DataConfig(path=tmp_path), CONSOLE)

    assert [issue.row.path.name for issue in issues if issue.problem == "dark"] == ["9.png", "6.png", "4.png"]


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_blur_lowers_the_sharpness_whatever_the_contrast(sigma: float) -> None:
    """Sharpness falls with every blur, and does not depend on brightness and contrast."""
    gray = _scene(3).mean(axis=2).astype(np.float32) / 255
    blurred = cv2.GaussianBlur(gray, (0, 0), sigma)

    assert measure_sharpness(blurred) < 0.7 * measure_sharpness(gray)
    assert measure_sharpness(0.2 * blurred + 0.4) == pytest.approx(measure_sharpness(blurred), rel=1e-3)


def test_an_image_of_one_color_is_not_blurry() -> None:
    """An image without contrast has nothing that could be blurred."""
    assert measure_sharpness(np.full((50, 50), 0.5)) == float("inf")
