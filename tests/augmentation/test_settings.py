"""Descriptions of augmentation settings, and warnings about misleading settings."""

from __future__ import annotations

from typing import Any

import pytest

from cnncli.augmentation.settings import AugmentationConfig, augmentation_notes, describe
from tests.augmentation.test_pipeline import EVERYTHING


def test_every_operation_is_described() -> None:
    """All active operations, and only those, are described in the order in which they are applied."""
    settings = AugmentationConfig.model_validate({**EVERYTHING, "fill_mode": "constant", "cval": 9})
    assert describe(settings) == (
        "crop 30–90 % of the area, shape 0.75–1.33",
        "rotation ±40°",
        "width shift ±20 % · height shift ±10 %",
        "shear ±12°",
        "zoom 0.7–1.3",
        "horizontal flip · vertical flip",
        "contrast 0.7–1.3",
        "channel shift ±20",
        "brightness 0.6–1.2",
        "saturation 0.5–1.5",
        "hue ±0.1 of the circle",
        "RandAugment 3 × magnitude 9",
        "noise 8",
        "erasing 2–33 % of the area, 100 % of the time",
        "fill constant 9",
    )
    assert describe(AugmentationConfig()) == ("fill nearest",)


@pytest.mark.parametrize(
    ("settings", "notes"),
    [
        ({}, []),
        ({"rotation_range": 40.0, "shear_range": 10.0, "zoom_range": 0.2, "cval": 9, "fill_mode": "constant"}, []),
        ({"shear_range": 0.2}, [("augmentation-unit", "augmentation.shear_range", 0.2, 11)]),
        ({"rotation_range": 0.1}, [("augmentation-unit", "augmentation.rotation_range", 0.1, 36)]),
        ({"noise_stddev": 0.1}, [("augmentation-unit", "augmentation.noise_stddev", 0.1, 26)]),
        ({"channel_shift_range": 0.04}, [("augmentation-unit", "augmentation.channel_shift_range", 0.04, 10)]),
        ({"zoom_range": 0.1, "random_resized_crop": {}}, [("augmentation-scales-twice", None, None, None)]),
        ({"zoom_range": (1.0, 1.0), "random_resized_crop": {}}, []),
        (
            {"brightness_range": (0.1, 0.3)},
            [("augmentation-factor", "augmentation.brightness_range", (0.1, 0.3), None)],
        ),
        ({"rotation_range": 5.0, "views": 1}, [("augmentation-without-views", "augmentation.views", 1, None)]),
        (
            {"rotation_range": 0.5, "zoom_range": (2.0, 3.0), "views": 1},
            [
                ("augmentation-unit", "augmentation.rotation_range", 0.5, 180),
                ("augmentation-factor", "augmentation.zoom_range", (2.0, 3.0), None),
                ("augmentation-without-views", "augmentation.views", 1, None),
            ],
        ),
    ],
)
def test_misleading_settings_are_reported(settings: dict[str, Any], notes: list[tuple[object, ...]]) -> None:
    """Angles that look like fractions, factor ranges that exclude 1, and operations without effect are reported."""
    found = augmentation_notes(AugmentationConfig.model_validate(settings))
    facts = [(note.code, *map(note.facts.get, ("key", "received", "expected"))) for note in found]
    assert facts == notes
