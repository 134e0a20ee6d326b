"""The warp and the table of gray values against Keras, SciPy and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy import ndimage

from cnncli.augmentation.geometry import FillMode, Geometry, source_matrix, warp
from cnncli.augmentation.tone import Tone, adjust

SIDE = 48
ROUNDING = 0.51
FILL_MODES: tuple[FillMode, ...] = ("nearest", "reflect", "wrap", "constant")
PERIODIC = {"nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap", "constant": "grid-constant"}
GEOMETRIES = {
    "rotation": Geometry(rotation_degrees=33.0),
    "half turn": Geometry(rotation_degrees=180.0),
    "width shift": Geometry(width_shift=0.13),
    "height shift": Geometry(height_shift=-0.21),
    "shear": Geometry(shear_degrees=25.0),
    "zoom in": Geometry(zoom_x=0.7, zoom_y=0.9),
    "zoom out": Geometry(zoom_x=1.4, zoom_y=1.1),
    "horizontal flip": Geometry(horizontal_flip=True),
    "vertical flip": Geometry(vertical_flip=True),
    "all": Geometry(17.3, 0.11, -0.23, 12.1, 0.83, 1.17, True, True),
}


def drawn_image(height: int = SIDE, width: int = SIDE, channels: int = 3) -> NDArray[np.uint8]:
    """Noise: every misplaced pixel shows."""
    return np.random.default_rng(3).integers(0, 256, (height, width, channels), dtype=np.uint8)


def with_keras(pixels: NDArray[np.uint8], geometry: Geometry, fill_mode: FillMode, cval: int) -> NDArray[np.float32]:
    """The same parameters through Keras's ImageDataGenerator; its `tx` moves columns, by pixels."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    height, width, _ = pixels.shape
    generator = ImageDataGenerator(fill_mode=fill_mode, cval=cval)
    parameters = {
        "theta": geometry.rotation_degrees,
        "tx": geometry.width_shift * width,
        "ty": geometry.height_shift * height,
        "shear": geometry.shear_degrees,
        "zx": geometry.zoom_x,
        "zy": geometry.zoom_y,
        "flip_horizontal": geometry.horizontal_flip,
        "flip_vertical": geometry.vertical_flip,
    }
    return np.asarray(generator.apply_transform(pixels.astype(np.float32), parameters))


def with_scipy(pixels: NDArray[np.uint8], geometry: Geometry, mode: str, cval: int) -> NDArray[np.float64]:
    """The same matrix through SciPy, rows before columns, in double precision."""
    matrix = source_matrix(geometry, *pixels.shape[:2])
    linear, offset = matrix[::-1, 1::-1], matrix[::-1, 2]
    planes = np.moveaxis(pixels.astype(np.float64), -1, 0)
    return np.stack(
        [ndimage.affine_transform(plane, linear, offset, order=1, mode=mode, cval=cval) for plane in planes], axis=-1
    )


def shown(geometry: Geometry, height: int, width: int) -> NDArray[np.bool_]:
    """Which pixels of a rendering come from inside the image."""
    y, x = np.mgrid[:height, :width]
    source_x, source_y = np.einsum("ij,jhw->ihw", source_matrix(geometry, height, width), np.stack([x, y, 0 * x + 1]))
    slack = 1e-6
    inside_x = (source_x > slack) & (source_x < width - 1 - slack)
    return np.asarray(inside_x & (source_y > slack) & (source_y < height - 1 - slack))


@pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_operation_shows_what_keras_shows(name: str, fill_mode: FillMode) -> None:
    """Inside the image the warp equals ImageDataGenerator.apply_transform up to rounding to whole gray values."""
    ours = warp(drawn_image(), GEOMETRIES[name], fill_mode, 37)
    difference = np.abs(ours - with_keras(drawn_image(), GEOMETRIES[name], fill_mode, 37))
    inside = shown(GEOMETRIES[name], SIDE, SIDE)
    assert inside.mean() > 0.4
    assert difference[inside].max() <= ROUNDING


@pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")
@pytest.mark.parametrize("fill_mode", ["nearest", "reflect"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_fill_equals_keras_too(name: str, fill_mode: FillMode) -> None:
    """Beyond the edge, too, `nearest` and `reflect` equal ImageDataGenerator on every pixel."""
    ours = warp(drawn_image(), GEOMETRIES[name], fill_mode, 0)
    assert np.abs(ours - with_keras(drawn_image(), GEOMETRIES[name], fill_mode, 0)).max() <= ROUNDING


@pytest.mark.parametrize("shape", [(31, 47, 3), (47, 31, 1), (1, 9, 3), (9, 1, 1), (1, 1, 3)])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_pixel_equals_exact_interpolation(name: str, fill_mode: FillMode, shape: tuple[int, int, int]) -> None:
    """On images of any shape all pixels, the fill included, equal SciPy's in double precision up to rounding."""
    pixels = drawn_image(*shape)
    ours = warp(pixels, GEOMETRIES[name], fill_mode, 37)
    assert ours.dtype == np.uint8
    assert ours.shape == shape
    assert np.abs(ours - with_scipy(pixels, GEOMETRIES[name], PERIODIC[fill_mode], 37)).max() <= ROUNDING


@pytest.mark.parametrize(
    ("geometry", "landmark"),
    [
        (Geometry(rotation_degrees=90.0), (4, 1)),
        (Geometry(width_shift=2 / 9), (1, 2)),
        (Geometry(height_shift=1 / 9), (0, 4)),
        (Geometry(horizontal_flip=True), (1, 4)),
        (Geometry(vertical_flip=True), (7, 4)),
        (Geometry(zoom_y=1.5), (2, 4)),
        (Geometry(zoom_y=0.75), (0, 4)),
    ],
)
def test_a_landmark_goes_where_the_words_say(geometry: Geometry, landmark: tuple[int, int]) -> None:
    """The bright pixel above the centre turns left, shifts left and up, flips and moves with the zoom."""
    pixels = np.zeros((9, 9, 1), np.uint8)
    pixels[1, 4] = 255
    warped = warp(pixels, geometry, "constant", 0)
    assert warped[landmark] == 255
    assert np.count_nonzero(warped == 255) == 1


@pytest.mark.parametrize("shape", [(7, 10, 3), (10, 7, 1)])
def test_flips_copy_pixels_exactly(shape: tuple[int, int, int]) -> None:
    """A flip alone is NumPy's reversal, bit for bit."""
    pixels = drawn_image(*shape)
    np.testing.assert_array_equal(warp(pixels, Geometry(horizontal_flip=True), "wrap", 0), pixels[:, ::-1])
    np.testing.assert_array_equal(warp(pixels, Geometry(vertical_flip=True), "nearest", 0), pixels[::-1])


def test_a_width_shift_moves_columns() -> None:
    """A width shift is a fraction of the width and moves columns, a height shift one of the height and moves rows."""
    pixels = drawn_image(6, 12)
    np.testing.assert_array_equal(warp(pixels, Geometry(width_shift=0.25), "wrap", 0), np.roll(pixels, -3, axis=1))
    np.testing.assert_array_equal(warp(pixels, Geometry(height_shift=-0.5), "wrap", 0), np.roll(pixels, 3, axis=0))


def test_nothing_to_do_gives_the_image_itself() -> None:
    """Parameters that do nothing cost nothing."""
    pixels = drawn_image()
    assert warp(pixels, Geometry(), "nearest", 0) is pixels
    assert adjust(pixels, Tone()) is pixels


def test_images_that_cannot_be_written_to_are_rendered() -> None:
    """Arrays from Pillow and from memory-mapped files are read-only, and slices are not contiguous."""
    pixels = drawn_image(SIDE, 2 * SIDE)[:, ::2]
    pixels.setflags(write=False)
    expected = warp(np.ascontiguousarray(pixels), GEOMETRIES["all"], "nearest", 0)
    np.testing.assert_array_equal(warp(pixels, GEOMETRIES["all"], "nearest", 0), expected)
    np.testing.assert_array_equal(adjust(pixels, Tone(1.2, 0.8)), adjust(pixels.copy(), Tone(1.2, 0.8)))


@given(brightness=st.floats(0.0, 4.0), contrast=st.floats(0.0, 4.0), channels=st.sampled_from([1, 3]))
def test_tone_equals_pillow(brightness: float, contrast: float, channels: int) -> None:
    """Contrast, then brightness, as ImageEnhance does them: which is what Keras does for brightness."""
    pixels = drawn_image(16, 20, channels) // 2 + 40
    plain = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    enhanced = ImageEnhance.Brightness(ImageEnhance.Contrast(plain).enhance(contrast)).enhance(brightness)
    np.testing.assert_array_equal(
        adjust(pixels, Tone(contrast, brightness)), np.asarray(enhanced).reshape(pixels.shape)
    )
