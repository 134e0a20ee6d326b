"""Perturbations of known strength."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import shift

from cnncli.augmentation.perturbations import PERTURBATIONS
from cnncli.cli.evaluate import PERTURBATION_NAMES
from tests.images.making import pixels


def test_the_command_line_knows_all_perturbations() -> None:
    """The names of the command line are those of the table."""
    assert tuple(PERTURBATIONS) == PERTURBATION_NAMES


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_perturbation_depends_on_strength_and_image_only(name: str, channels: int) -> None:
    """Strength 0 is the image itself; every other strength changes it, always in the same way for one image."""
    image, change = pixels(32, 32, channels), PERTURBATIONS[name]
    assert 0 in change.strengths
    assert list(change.strengths) == sorted(set(change.strengths))
    for strength in change.strengths:
        found = change(image, strength, "ab")
        assert (found.shape, found.dtype) == (image.shape, np.uint8)
        assert (found is image) == (strength == 0)
        np.testing.assert_array_equal(found, change(image, strength, "ab"))
    assert (change(image, change.strengths[-1], "ab") != image).any()


def test_a_shift_moves_by_its_percentage_in_any_direction() -> None:
    """Row 203. A shift by 10 % of 60 pixels moves the content by 6 pixels, in a direction that differs by image."""
    image = np.zeros((60, 60, 1), np.uint8)
    image[28:33, 28:33] = 255
    offsets = []
    for digest in ("a", "b", "c", "d"):
        found = PERTURBATIONS["shift"](image, 10, digest)[..., 0].astype(float)
        rows, columns = np.indices(found.shape)
        offsets.append(((found * rows).sum() / found.sum() - 30, (found * columns).sum() / found.sum() - 30))
        np.testing.assert_allclose(found, shift(image[..., 0].astype(float), offsets[-1], order=1), atol=2)
    assert np.hypot(*np.transpose(offsets)) == pytest.approx([6] * 4, abs=0.1)
    assert len({round(y) for y, _ in offsets}) > 1


def test_scale_enlarges_by_its_percentage() -> None:
    """A change of size by 100 % doubles a square, and by -50 % would halve it."""
    image = np.zeros((80, 80, 1), np.uint8)
    image[30:50, 30:50] = 255
    areas = {k: int((PERTURBATIONS["scale"](image, k, "") > 127).sum()) for k in (-60, 0, 100)}
    assert areas == {-60: 64, 0: 400, 100: 1600}


def test_blur_is_that_of_opencv_and_brightness_a_factor() -> None:
    """The strength of a blur is its deviation in pixels, and that of brightness the change in percent."""
    image = pixels(30, 30)
    np.testing.assert_array_equal(PERTURBATIONS["blur"](image, 2, ""), cv2.GaussianBlur(image, (0, 0), 2))
    half = PERTURBATIONS["brightness"](image, -60, "").astype(float)
    assert np.abs(half - 0.4 * image).max() <= 1
