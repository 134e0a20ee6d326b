"""Dividing images into parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncli.dataset.build import build_manifest
from cnncli.dataset.records import ImageRecord
from cnncli.features.parts import ImagePart
from tests.support.drawing import draw_dataset, tiny_config


@pytest.fixture
def images(tmp_path: Path) -> tuple[ImageRecord, ...]:
    """Return the records of 48 images."""
    return build_manifest(tiny_config(draw_dataset(tmp_path / "data")).data, 0).rows


@pytest.mark.parametrize("total", [1, 2, 5, 100])
def test_each_image_is_in_one_part(images: tuple[ImageRecord, ...], total: int) -> None:
    """Every image is in exactly one part, whatever their number, and no part has most of them."""
    parts = [ImagePart(number, total).images(images) for number in range(1, total + 1)]

    assert sorted(image.file for part in parts for image in part) == sorted(image.file for image in images)
    assert total == 1 or max(map(len, parts)) < 0.8 * len(images)


def test_other_images_do_not_move_an_image(images: tuple[ImageRecord, ...]) -> None:
    """The part of an image does not depend on the other images or on their order."""
    all_images = ImagePart(1, 3).images(images)

    assert ImagePart(1, 3).images(images[::-1][:20]) == tuple(one for one in images[::-1][:20] if one in all_images)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/2/3", "a/b", "-1/2", ""])
def test_impossible_parts_are_refused(text: str) -> None:
    """Parts are numbered from 1 to their total."""
    with pytest.raises(ValueError, match=r"\S"):
        ImagePart.parse(text)
