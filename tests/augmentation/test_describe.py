"""Augmentation in words, and the sentences about settings that seem to say something else."""

from __future__ import annotations

from typing import Any

import pytest

from cnncli.augmentation.describe import augmentation_notes, describe
from cnncli.augmentation.settings import AugmentationConfig
from tests.augmentation.test_pipeline import EVERYTHING


def test_every_operation_is_described() -> None:
    """One short text for each, in the order in which they happen; what is off is not mentioned."""
    settings = AugmentationConfig.model_validate({**EVERYTHING, "fill_mode": "constant", "cval": 9})
    assert describe(settings) == (
        "crop 30–90 % of the area, shape 0.75–1.33",
        "rotation ±40°",
        "width shift ±20 %",
        "height shift ±10 %",
        "shear ±12°",
        "zoom 0.7–1.3",
        "horizontal flip",
        "vertical flip",
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
        ({}, ()),
        ({"rotation_range": 40.0, "shear_range": 10.0, "zoom_range": 0.2, "cval": 9, "fill_mode": "constant"}, ()),
        (
            {"shear_range": 0.2},
            (
                "augmentation.shear_range: 0.2 means degrees, as in Keras, and is almost nothing "
                "(as radians it would be shear_range: 11).",
            ),
        ),
        (
            {"rotation_range": 0.1},
            (
                "augmentation.rotation_range: 0.1 means degrees and is almost nothing "
                "(as a fraction of a full turn it would be rotation_range: 36).",
            ),
        ),
        (
            {"noise_stddev": 0.1},
            (
                "augmentation.noise_stddev: 0.1 means gray levels and is almost nothing "
                "(as a fraction of their range it would be noise_stddev: 26).",
            ),
        ),
        (
            {"channel_shift_range": 0.04},
            (
                "augmentation.channel_shift_range: 0.04 means gray levels and is almost nothing "
                "(as a fraction of their range it would be channel_shift_range: 10).",
            ),
        ),
        (
            {"zoom_range": 0.1, "random_resized_crop": {}},
            ("augmentation: random_resized_crop and zoom_range both scale the image; their factors are multiplied.",),
        ),
        (
            {"brightness_range": (0.1, 0.3)},
            ("augmentation.brightness_range: [0.1, 0.3] holds factors, and 1 (no change) is not among them.",),
        ),
        (
            {"rotation_range": 5.0, "views": 1},
            (
                "augmentation.views: 1 is the image itself, so no augmentation is seen; "
                "take views: 2 or more, or fresh.",
            ),
        ),
    ],
)
def test_the_tool_says_what_is_not_as_it_seems(settings: dict[str, Any], notes: tuple[str, ...]) -> None:
    """Angles that look like fractions, factors without 1 and operations that nobody sees each get one sentence."""
    assert augmentation_notes(AugmentationConfig.model_validate(settings)) == notes
