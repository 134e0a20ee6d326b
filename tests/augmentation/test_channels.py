"""Augmentation of images with one, two, four or more channels."""

from __future__ import annotations

import numpy as np
import pytest

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.augmentation.views import render_view

DIGEST = "ab" * 32
GEOMETRY = {"rotation_range": 30.0, "zoom_range": 0.2, "horizontal_flip": True, "fill_mode": "constant", "cval": 7}
EVERYTHING = {
    **GEOMETRY,
    "brightness_range": (0.5, 1.5),
    "contrast_range": (0.5, 1.5),
    "channel_shift_range": 40.0,
    "saturation_range": (0.0, 2.0),
    "hue_range": 0.5,
    "rand_augment": {},
    "random_erasing": {},
    "noise_stddev": 5.0,
}


def _view(pixels: np.ndarray, view: int, **settings: object) -> np.ndarray:
    config = AugmentationConfig.model_validate({"views": 9, **settings})
    return render_view(pixels, config, DIGEST, view)


def _pixels(channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 20, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 9])
def test_geometry_moves_all_channels_alike(channels: int) -> None:
    """Each channel of a view equals the view of only this channel."""
    pixels = _pixels(channels)
    view = _view(pixels, 3, **GEOMETRY)
    assert view.shape == pixels.shape
    for channel in range(channels):
        alone = _view(pixels[..., channel : channel + 1].copy(), 3, **GEOMETRY)
        np.testing.assert_array_equal(view[..., channel : channel + 1], alone)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_every_operation_takes_any_number_of_channels(channels: int) -> None:
    """All operations together give an image of the same shape and type that differs from the original."""
    for view in range(1, 9):
        found = _view(_pixels(channels), view, **EVERYTHING)
        assert (found.shape, found.dtype) == ((24, 20, channels), np.uint8)
        assert (found != _pixels(channels)).any()


def test_alpha_is_not_changed_by_operations_on_color() -> None:
    """The last of four channels keeps its values, and the others change as they do without it."""
    pixels = _pixels(4)
    names = (
        "brightness_range",
        "contrast_range",
        "channel_shift_range",
        "saturation_range",
        "hue_range",
        "rand_augment",
    )
    for name in names:
        value = {"num_ops": 1} if name == "rand_augment" else EVERYTHING[name]
        for view in range(1, 9):
            found, colors = (_view(one, view, **{name: value}) for one in (pixels, pixels[..., :3].copy()))
            np.testing.assert_array_equal(found[..., :3], colors)
            if name != "rand_augment":
                np.testing.assert_array_equal(found[..., 3], pixels[..., 3])
