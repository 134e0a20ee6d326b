"""Geometric augmentation compared with Keras and SciPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from cnncli.augmentation.color import scale_contrast
from cnncli.augmentation.geometry import (
    FillMode,
    mirror,
    rotate,
    scale,
    shear_columns,
    source_matrix,
    translate,
    warp,
)
from cnncli.augmentation.operation import AffineStep

SIDE = 48
ROUNDING = 0.51
FILL_MODES: tuple[FillMode, ...] = ("nearest", "reflect", "wrap", "constant")
PERIODIC = {"nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap", "constant": "grid-constant"}
Steps = list[AffineStep]


def centered(matrix: Callable[..., Any], **arguments: float) -> AffineStep:
    """Return a step about the center of the image."""
    return AffineStep(partial(matrix, **arguments), "center")


def flip(horizontal: bool, vertical: bool) -> AffineStep:
    """Return a flip."""
    return AffineStep(partial(mirror, horizontal=horizontal, vertical=vertical))


GEOMETRIES: dict[str, Steps] = {
    "rotation": [centered(rotate, degrees=33.0)],
    "half turn": [centered(rotate, degrees=180.0)],
    "width shift": [centered(translate, x=0.13, y=0.0)],
    "height shift": [centered(translate, x=0.0, y=-0.21)],
    "shear": [centered(shear_columns, degrees=25.0)],
    "zoom in": [centered(scale, x=0.7, y=0.9)],
    "zoom out": [centered(scale, x=1.4, y=1.1)],
    "horizontal flip": [flip(True, False)],
    "vertical flip": [flip(False, True)],
    "all": [
        centered(rotate, degrees=17.3),
        centered(translate, x=0.11, y=-0.23),
        centered(shear_columns, degrees=12.1),
        centered(scale, x=0.83, y=1.17),
        flip(True, True),
    ],
}
KERAS_NAMES: dict[Callable[..., Any], dict[str, str]] = {
    rotate: {"degrees": "theta"},
    translate: {"x": "ty", "y": "tx"},
    shear_columns: {"degrees": "shear"},
    scale: {"x": "zx", "y": "zy"},
    mirror: {"horizontal": "flip_horizontal", "vertical": "flip_vertical"},
}


def noise_image(height: int = SIDE, width: int = SIDE, channels: int = 3) -> NDArray[np.uint8]:
    """Return a noise image, in which every misplaced pixel is noticeable."""
    return np.random.default_rng(3).integers(0, 256, (height, width, channels), dtype=np.uint8)


def with_keras(pixels: NDArray[np.uint8], steps: Steps, fill_mode: FillMode, cval: int) -> NDArray[np.float32]:
    """Return the image transformed by Keras's ImageDataGenerator, whose `tx` shifts columns, in pixels."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    height, width, _ = pixels.shape
    generator = ImageDataGenerator(fill_mode=fill_mode, cval=cval)
    parameters: dict[str, float] = {"tx": 0.0, "ty": 0.0}
    for step in steps:
        assert isinstance(step.matrix, partial)
        parameters |= {KERAS_NAMES[step.matrix.func][name]: value for name, value in step.matrix.keywords.items()}
    parameters["tx"], parameters["ty"] = parameters["ty"] * width, parameters["tx"] * height
    return np.asarray(generator.apply_transform(pixels.astype(np.float32), parameters))


def with_scipy(pixels: NDArray[np.uint8], steps: Steps, mode: str, cval: int) -> NDArray[np.float64]:
    """Return the image transformed by SciPy in double precision; SciPy orders coordinates as row, column."""
    matrix = source_matrix(steps, *pixels.shape[:2])
    linear, offset = matrix[::-1, 1::-1], matrix[::-1, 2]
    planes = np.moveaxis(pixels.astype(np.float64), -1, 0)
    return np.stack(
        [ndimage.affine_transform(plane, linear, offset, order=1, mode=mode, cval=cval) for plane in planes], axis=-1
    )


def is_inside(steps: Steps, height: int, width: int) -> NDArray[np.bool_]:
    """Return a mask of the pixels of a view that come from inside the image."""
    y, x = np.mgrid[:height, :width]
    source_x, source_y = np.einsum("ij,jhw->ihw", source_matrix(steps, height, width), np.stack([x, y, 0 * x + 1]))
    slack = 1e-6
    inside_x = (source_x > slack) & (source_x < width - 1 - slack)
    return np.asarray(inside_x & (source_y > slack) & (source_y < height - 1 - slack))


@pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_step_matches_keras(name: str, fill_mode: FillMode) -> None:
    """Inside the image, the warp matches ImageDataGenerator.apply_transform up to rounding to integers."""
    ours = warp(noise_image(), GEOMETRIES[name], fill_mode, 37)
    difference = np.abs(ours - with_keras(noise_image(), GEOMETRIES[name], fill_mode, 37))
    inside = is_inside(GEOMETRIES[name], SIDE, SIDE)
    assert inside.mean() > 0.4
    assert difference[inside].max() <= ROUNDING


@pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")
@pytest.mark.parametrize("fill_mode", ["nearest", "reflect"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_fill_matches_keras(name: str, fill_mode: FillMode) -> None:
    """With the `nearest` and `reflect` fill modes, the warp also matches ImageDataGenerator outside the image."""
    ours = warp(noise_image(), GEOMETRIES[name], fill_mode, 0)
    assert np.abs(ours - with_keras(noise_image(), GEOMETRIES[name], fill_mode, 0)).max() <= ROUNDING


@pytest.mark.parametrize("shape", [(31, 47, 3), (47, 31, 1), (1, 9, 3), (9, 1, 1), (1, 1, 3)])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_pixel_matches_exact_interpolation(name: str, fill_mode: FillMode, shape: tuple[int, int, int]) -> None:
    """For images of any shape, every pixel, including the fill, matches SciPy in double precision up to rounding."""
    pixels = noise_image(*shape)
    ours = warp(pixels, GEOMETRIES[name], fill_mode, 37)
    assert ours.dtype == np.uint8
    assert ours.shape == shape
    assert np.abs(ours - with_scipy(pixels, GEOMETRIES[name], PERIODIC[fill_mode], 37)).max() <= ROUNDING


@pytest.mark.parametrize(
    ("steps", "landmark"),
    [
        ([centered(rotate, degrees=90.0)], (4, 1)),
        ([centered(translate, x=2 / 9, y=0.0)], (1, 2)),
        ([centered(translate, x=0.0, y=1 / 9)], (0, 4)),
        ([flip(True, False)], (1, 4)),
        ([flip(False, True)], (7, 4)),
        ([centered(scale, x=1.0, y=1.5)], (2, 4)),
        ([centered(scale, x=1.0, y=0.75)], (0, 4)),
    ],
)
def test_a_landmark_moves_as_documented(steps: Steps, landmark: tuple[int, int]) -> None:
    """A bright pixel lands at the documented place: rotation turns left, shifts move left and up, and flips mirror."""
    pixels = np.zeros((9, 9, 1), np.uint8)
    pixels[1, 4] = 255
    warped = warp(pixels, steps, "constant", 0)
    assert warped[landmark] == 255
    assert np.count_nonzero(warped == 255) == 1


@pytest.mark.parametrize("shape", [(7, 10, 3), (10, 7, 1)])
def test_flips_copy_pixels_exactly(shape: tuple[int, int, int]) -> None:
    """A flip without other steps equals reversing the array with NumPy, bit for bit."""
    pixels = noise_image(*shape)
    np.testing.assert_array_equal(warp(pixels, [flip(True, False)], "wrap", 0), pixels[:, ::-1])
    np.testing.assert_array_equal(warp(pixels, [flip(False, True)], "nearest", 0), pixels[::-1])


def test_a_width_shift_moves_columns() -> None:
    """A width shift moves columns by a fraction of the width; a height shift moves rows by a fraction of the height."""
    pixels = noise_image(6, 12)
    np.testing.assert_array_equal(
        warp(pixels, [centered(translate, x=0.25, y=0.0)], "wrap", 0), np.roll(pixels, -3, axis=1)
    )
    np.testing.assert_array_equal(
        warp(pixels, [centered(translate, x=0.0, y=-0.5)], "wrap", 0), np.roll(pixels, 3, axis=0)
    )


def test_without_steps_the_image_itself_is_returned() -> None:
    """A warp without steps returns the input array itself."""
    pixels = noise_image()
    assert warp(pixels, [], "nearest", 0) is pixels


def test_read_only_images_are_rendered() -> None:
    """Read-only and non-contiguous arrays, such as slices of memory-mapped files, are rendered correctly."""
    pixels = noise_image(SIDE, 2 * SIDE)[:, ::2]
    pixels.setflags(write=False)
    expected = warp(np.ascontiguousarray(pixels), GEOMETRIES["all"], "nearest", 0)
    np.testing.assert_array_equal(warp(pixels, GEOMETRIES["all"], "nearest", 0), expected)
    np.testing.assert_array_equal(scale_contrast(pixels, 1.2), scale_contrast(pixels.copy(), 1.2))
