"""Draws by key, and renderings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from cnncli.augmentation.geometry import Geometry
from cnncli.augmentation.pipeline import Parameters, draw, render
from cnncli.augmentation.settings import AugmentationConfig

EVERYTHING: dict[str, Any] = {
    "rotation_range": 40.0,
    "width_shift_range": 0.2,
    "height_shift_range": 0.1,
    "shear_range": 12.0,
    "zoom_range": 0.3,
    "horizontal_flip": True,
    "vertical_flip": True,
    "contrast_range": (0.7, 1.3),
    "brightness_range": (0.6, 1.2),
    "saturation_range": (0.5, 1.5),
    "hue_range": 0.1,
    "channel_shift_range": 20.0,
    "noise_stddev": 8.0,
    "random_resized_crop": {"scale": (0.3, 0.9)},
    "random_erasing": {"probability": 1.0},
    "rand_augment": {"num_ops": 3},
}
FIELDS = {
    "rotation_range": ("rotation_degrees",),
    "width_shift_range": ("width_shift",),
    "height_shift_range": ("height_shift",),
    "shear_range": ("shear_degrees",),
    "zoom_range": ("zoom_x", "zoom_y"),
    "horizontal_flip": ("horizontal_flip",),
    "vertical_flip": ("vertical_flip",),
    "contrast_range": ("contrast",),
    "brightness_range": ("brightness",),
    "saturation_range": ("saturation",),
    "hue_range": ("hue",),
    "channel_shift_range": ("channel_shifts",),
    "noise_stddev": ("noise",),
    "random_resized_crop": ("crop",),
    "random_erasing": ("erasing",),
    "rand_augment": ("moves", "changes"),
}
NEUTRAL: dict[str, Any] = {
    "zoom_range": (1.0, 1.0),
    "brightness_range": (1.0, 1.0),
    "contrast_range": (1.0, 1.0),
    "saturation_range": (1.0, 1.0),
    "random_resized_crop": {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)},
    "random_erasing": {"probability": 0.0},
}


def drawn_image(channels: int = 3) -> NDArray[np.uint8]:
    """Noise of 40 × 56 pixels."""
    return np.random.default_rng(1).integers(0, 256, (40, 56, channels), dtype=np.uint8)


def flat(parameters: Parameters) -> dict[str, Any]:
    """All parameters by name."""
    apart = ("geometry", "tone", "chroma")
    groups = {name: value for part in apart for name, value in vars(getattr(parameters, part)).items()}
    return groups | {name: value for name, value in vars(parameters).items() if name not in apart}


def settings_of(**operations: Any) -> AugmentationConfig:
    """Settings, nested groups included."""
    return AugmentationConfig.model_validate(operations)


def test_the_same_key_gives_the_same_pixels() -> None:
    """A rendering is a function of image, settings and key, and every word of the key counts."""
    settings = settings_of(**EVERYTHING)
    first = render(drawn_image(), settings, "view", 0, "ab", 1)
    np.testing.assert_array_equal(first, render(drawn_image(), settings, "view", 0, "ab", 1))
    for other in [("view", 1, "ab", 1), ("view", 0, "ac", 1), ("view", 0, "ab", 2), ("fresh", 0, "ab", 1)]:
        assert not np.array_equal(first, render(drawn_image(), settings, *other))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_rendering_keeps_shape_and_type(channels: int) -> None:
    """Grayscale keeps its axis, and the image that was handed in stays as it was."""
    pixels = drawn_image(channels)
    rendered = render(pixels, settings_of(**EVERYTHING), "key")
    assert (rendered.shape, rendered.dtype) == (pixels.shape, np.uint8)
    np.testing.assert_array_equal(pixels, drawn_image(channels))


OPERATIONS = st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in EVERYTHING.items()})


@given(
    operations=OPERATIONS,
    fill_mode=st.sampled_from(["nearest", "reflect", "wrap", "constant"]),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])),
    key=st.integers(0, 2**32),
)
def test_any_operations_render_any_image(
    operations: dict[str, Any], fill_mode: str, shape: tuple[int, int, int], key: int
) -> None:
    """Whatever is switched on: uint8 of the same shape, the same bits for the same key, the image left alone."""
    pixels = np.random.default_rng(key).integers(0, 256, shape, dtype=np.uint8)
    before, settings = pixels.copy(), settings_of(**operations, fill_mode=fill_mode)
    rendered = render(pixels, settings, key)
    assert (rendered.shape, rendered.dtype) == (shape, np.uint8)
    np.testing.assert_array_equal(rendered, render(before, settings, key))
    np.testing.assert_array_equal(pixels, before)


@given(channels=st.sampled_from([1, 3]), key=st.integers(0, 2**32))
def test_neutral_settings_leave_every_pixel(channels: int, key: int) -> None:
    """Factors of 1, the whole image as a crop and erasing that never happens are no change."""
    np.testing.assert_array_equal(render(drawn_image(channels), settings_of(**NEUTRAL), key), drawn_image(channels))


def test_draws_stay_what_they_were() -> None:
    """Stored renderings are found again by their key, so what a key draws is for good."""
    parameters = draw(settings_of(**EVERYTHING), "view", 0, "ab", 1)
    assert parameters.geometry.rotation_degrees == 4.258702602044879
    assert (parameters.geometry.zoom_x, parameters.geometry.vertical_flip) == (1.2655529610835994, True)
    assert (parameters.tone.contrast, parameters.tone.brightness) == (0.9836006396973931, 0.6129816872453143)


def test_nothing_switched_on_gives_the_image_itself() -> None:
    """Settings that only say how, not what, render nothing."""
    pixels = drawn_image()
    settings = AugmentationConfig(fill_mode="constant", cval=7, views=3, seed=5)
    assert render(pixels, settings, "key") is pixels
    assert draw(settings, "key") == Parameters()


@pytest.mark.parametrize("operation", EVERYTHING)
def test_an_operation_draws_the_same_whatever_else_is_on(operation: str) -> None:
    """Switching one operation on or off leaves the draws of all others as they are."""
    with_all = flat(draw(settings_of(**EVERYTHING), "key", 4))
    alone = flat(draw(settings_of(**{operation: EVERYTHING[operation]}), "key", 4))
    nothing = flat(Parameters())
    for name, value in alone.items():
        assert value == (with_all[name] if name in FIELDS[operation] else nothing[name])


@given(key=st.integers(0, 2**32))
def test_draws_stay_in_their_ranges(key: int) -> None:
    """Every parameter lies in the range that the settings name."""
    parameters = flat(draw(settings_of(**EVERYTHING), key))
    assert abs(parameters["rotation_degrees"]) <= 40
    assert abs(parameters["width_shift"]) <= 0.2
    assert abs(parameters["height_shift"]) <= 0.1
    assert abs(parameters["shear_degrees"]) <= 12
    assert 0.7 <= parameters["zoom_x"] <= 1.3
    assert 0.7 <= parameters["zoom_y"] <= 1.3
    assert 0.7 <= parameters["contrast"] <= 1.3
    assert 0.6 <= parameters["brightness"] <= 1.2
    assert 0.5 <= parameters["saturation"] <= 1.5
    assert abs(parameters["hue"]) <= 0.1
    assert np.abs(parameters["channel_shifts"]).max() <= 20
    assert 0.3 <= parameters["crop"].width * parameters["crop"].height <= 0.9 + 1e-9


def test_draws_fill_their_ranges_evenly() -> None:
    """Over many keys the draws have the mean and the spread of uniform ones, flips come up half the time."""
    settings = settings_of(**EVERYTHING)
    drawn = [flat(draw(settings, "view", 0, "digest", k)) for k in range(2000)]
    numbers = [name for name, value in drawn[0].items() if isinstance(value, float | bool)]
    table = {name: np.array([row[name] for row in drawn], dtype=float) for name in numbers}
    for name, middle, half in [
        ("rotation_degrees", 0, 40),
        ("zoom_x", 1, 0.3),
        ("brightness", 0.9, 0.3),
        ("hue", 0, 0.1),
    ]:
        assert abs(table[name].mean() - middle) < 0.06 * half
        assert abs(table[name].std() * np.sqrt(3) / half - 1) < 0.04
    assert abs(table["horizontal_flip"].mean() - 0.5) < 0.04
    assert abs(np.corrcoef(table["zoom_x"], table["zoom_y"])[0, 1]) < 0.07


def test_zoom_takes_a_fraction_or_two_factors() -> None:
    """A fraction z means [1 - z, 1 + z]."""
    fraction, factors = AugmentationConfig(zoom_range=0.2), AugmentationConfig(zoom_range=(0.8, 1.2))
    assert draw(fraction, "key") == draw(factors, "key")
    assert draw(fraction, "key").geometry != Geometry()


@pytest.fixture
def opencv_threads() -> Iterator[Callable[[int], None]]:
    """Sets OpenCV's own number of threads; it is what it was after the test."""
    import cv2

    before = cv2.getNumThreads()
    yield cv2.setNumThreads
    cv2.setNumThreads(before)


def test_opencv_renders_the_same_pixels_on_one_thread(opencv_threads: Callable[[int], None]) -> None:
    """However many threads OpenCV splits a large image among."""
    large = np.random.default_rng(3).integers(0, 256, (700, 800, 3), dtype=np.uint8)
    rendered = []
    for threads in (1, 4):
        opencv_threads(threads)
        rendered.append([render(large, settings_of(**EVERYTHING), k) for k in range(4)])
    np.testing.assert_array_equal(*rendered)


def test_threads_render_the_same_pixels() -> None:
    """Eight threads at once render what one renders, also images large enough for OpenCV's own threads."""
    large = np.random.default_rng(2).integers(0, 256, (700, 800, 3), dtype=np.uint8)
    settings = settings_of(**EVERYTHING)
    one_by_one = [render(large, settings, k) for k in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for expected, rendered in zip(
            one_by_one, pool.map(lambda k: render(large, settings, k), range(8)), strict=True
        ):
            np.testing.assert_array_equal(rendered, expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"zoom_range": (0.0, 1.0)},
        {"zoom_range": (1.2, 0.8)},
        {"zoom_range": 1.0},
        {"brightness_range": (-0.2, 0.2)},
        {"contrast_range": (1.5, 0.5)},
        {"width_shift_range": 10.0},
        {"rotation_range": -10.0},
        {"views": 0},
        {"cval": 256},
        {"hue_range": 36.0},
        {"noise_stddev": -1.0},
        {"random_resized_crop": {"scale": (0.0, 1.0)}},
        {"random_resized_crop": {"scale": (0.5, 1.5)}},
        {"random_resized_crop": {"ratio": (2.0, 0.5)}},
        {"random_erasing": {"probability": 1.5}},
        {"random_erasing": {"value": "noise"}},
        {"rand_augment": {"num_ops": 0}},
        {"rand_augment": {"magnitude": 11.0}},
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, Any]) -> None:
    """What cannot be rendered does not become settings."""
    with pytest.raises(ValidationError):
        AugmentationConfig.model_validate(settings)
