"""Drawing augmentation parameters from a key, and rendering views with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from cnncli.augmentation.color import (
    rotate_hue,
    scale_brightness,
    scale_contrast,
    scale_saturation,
    shift_channels,
)
from cnncli.augmentation.geometry import mirror, move, rotate, scale, shear_columns, translate
from cnncli.augmentation.noise import add_noise
from cnncli.augmentation.operation import AffineStep
from cnncli.augmentation.rand_augment import change
from cnncli.augmentation.random_rect import crop, erase
from cnncli.augmentation.settings import OPERATIONS, AugmentationConfig
from cnncli.augmentation.views import draw as draw_steps
from cnncli.augmentation.views import render

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
STEPS: dict[str, tuple[Callable[..., Any], ...]] = {
    "rotation_range": (rotate,),
    "width_shift_range": (translate,),
    "height_shift_range": (translate,),
    "shear_range": (shear_columns,),
    "zoom_range": (scale,),
    "horizontal_flip": (mirror,),
    "vertical_flip": (mirror,),
    "contrast_range": (scale_contrast,),
    "brightness_range": (scale_brightness,),
    "saturation_range": (scale_saturation,),
    "hue_range": (rotate_hue,),
    "channel_shift_range": (shift_channels,),
    "noise_stddev": (add_noise,),
    "random_resized_crop": (crop,),
    "random_erasing": (erase,),
    "rand_augment": (move, change),
}
"""The functions of the steps that each setting can draw."""
NEUTRAL: dict[str, Any] = {
    "zoom_range": (1.0, 1.0),
    "brightness_range": (1.0, 1.0),
    "contrast_range": (1.0, 1.0),
    "saturation_range": (1.0, 1.0),
    "random_resized_crop": {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)},
    "random_erasing": {"probability": 0.0},
}


def noise_image(channels: int = 3) -> NDArray[np.uint8]:
    """Return a noise image, 40 pixels high and 56 wide."""
    return np.random.default_rng(1).integers(0, 256, (40, 56, channels), dtype=np.uint8)


class Drawn(NamedTuple):
    """A step as a comparable pair: its function, and its arguments."""

    kind: Callable[..., Any]
    arguments: dict[str, Any]


def draw(settings: AugmentationConfig, *key: str | int) -> list[Drawn]:
    """Return the steps drawn for a key."""
    functions = [step.matrix if isinstance(step, AffineStep) else step for step in draw_steps(settings, *key)]
    return [Drawn(function.func, function.keywords) for function in functions if isinstance(function, partial)]


def first(steps: list[Drawn], kind: Callable[..., Any]) -> SimpleNamespace:
    """Return the arguments of the first step of the given kind."""
    return next(SimpleNamespace(**step.arguments) for step in steps if step.kind is kind)


def is_flipped(steps: list[Drawn]) -> bool:
    """Return whether the steps flip the image horizontally."""
    return any(step.kind is mirror and step.arguments["horizontal"] for step in steps)


def settings_of(**operations: Any) -> AugmentationConfig:
    """Return settings from plain values, with nested groups."""
    return AugmentationConfig.model_validate(operations)


def test_the_same_key_gives_the_same_pixels() -> None:
    """The same image, settings and key render the same view; a change to any part of the key changes it."""
    settings = settings_of(**EVERYTHING)
    first = render(noise_image(), settings, "view", 0, "ab", 1)
    np.testing.assert_array_equal(first, render(noise_image(), settings, "view", 0, "ab", 1))
    for other in [("view", 1, "ab", 1), ("view", 0, "ac", 1), ("view", 0, "ab", 2), ("fresh", 0, "ab", 1)]:
        assert not np.array_equal(first, render(noise_image(), settings, *other))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_keeps_shape_and_type(channels: int) -> None:
    """A view is uint8 and has the shape of its image, including the channel axis of grayscale images."""
    pixels = noise_image(channels)
    rendered = render(pixels, settings_of(**EVERYTHING), "key")
    assert (rendered.shape, rendered.dtype) == (pixels.shape, np.uint8)
    np.testing.assert_array_equal(pixels, noise_image(channels))


ANY_OPERATIONS = st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in EVERYTHING.items()})


@given(
    operations=ANY_OPERATIONS,
    fill_mode=st.sampled_from(["nearest", "reflect", "wrap", "constant"]),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])),
    key=st.integers(0, 2**32),
)
def test_any_operations_render_any_image(
    operations: dict[str, Any], fill_mode: str, shape: tuple[int, int, int], key: int
) -> None:
    """Any set of operations renders a reproducible uint8 view of the same shape and leaves the input unchanged."""
    pixels = np.random.default_rng(key).integers(0, 256, shape, dtype=np.uint8)
    before, settings = pixels.copy(), settings_of(**operations, fill_mode=fill_mode)
    rendered = render(pixels, settings, key)
    assert (rendered.shape, rendered.dtype) == (shape, np.uint8)
    np.testing.assert_array_equal(rendered, render(before, settings, key))
    np.testing.assert_array_equal(pixels, before)


@given(channels=st.sampled_from([1, 3]), key=st.integers(0, 2**32))
def test_neutral_settings_change_no_pixel(channels: int, key: int) -> None:
    """Factors of 1, a crop of the whole image and erasing with a probability of 0 change nothing."""
    np.testing.assert_array_equal(render(noise_image(channels), settings_of(**NEUTRAL), key), noise_image(channels))


def test_a_key_always_draws_the_same_parameters() -> None:
    """The parameters drawn for a key are the same in every version, because cached views are looked up by their key."""
    steps = draw(settings_of(**EVERYTHING), "view", 0, "ab", 1)
    assert first(steps, rotate).degrees == 4.258702602044879
    assert (first(steps, scale).x, first(steps, mirror).vertical) == (1.2655529610835994, True)
    assert first(steps, scale_contrast).factor == 0.9836006396973931
    assert first(steps, scale_brightness).factor == 0.6129816872453143


def test_without_operations_the_image_itself_is_returned() -> None:
    """Settings without any operation draw no steps, and the input array itself is returned."""
    pixels = noise_image()
    settings = AugmentationConfig(fill_mode="constant", cval=7, views=3, seed=5)
    assert render(pixels, settings, "key") is pixels
    assert draw(settings, "key") == []


@pytest.mark.parametrize("setting", EVERYTHING)
def test_draws_of_an_operation_do_not_depend_on_other_operations(setting: str) -> None:
    """The parameters drawn for an operation do not depend on which other operations are active."""
    for key in range(6):
        alone = draw(settings_of(**{setting: EVERYTHING[setting]}), "key", key)
        assert {step.kind for step in alone} <= set(STEPS[setting])
        if setting.endswith(("shift_range", "flip")) and setting != "channel_shift_range":
            continue  # two settings share a step
        with_all = draw(settings_of(**EVERYTHING), "key", key)
        assert alone == [step for step in with_all if step.kind in STEPS[setting]]


def test_both_axes_of_a_shift_and_a_flip_are_independent() -> None:
    """Shifts and flips along one axis are drawn identically with or without the other axis."""
    for key in range(9):
        both = draw(settings_of(**EVERYTHING), "key", key)
        (shift,) = draw(settings_of(width_shift_range=0.2), "key", key)
        assert shift.arguments == {"x": first(both, translate).x, "y": 0.0}
        flip = Drawn(mirror, {"horizontal": True, "vertical": False})
        assert draw(settings_of(horizontal_flip=True), "key", key) == [flip] * is_flipped(both)


def test_steps_come_in_the_order_of_the_operations() -> None:
    """Steps are applied in the order of `OPERATIONS`, regardless of the order of the settings."""
    fields = [name for operation in OPERATIONS for name in operation.model_fields if name in STEPS]
    assert sorted(fields) == sorted(EVERYTHING)
    order = list(dict.fromkeys(kind for name in fields for kind in STEPS[name]))
    steps = draw(settings_of(**EVERYTHING), "view", 0, "ab", 1)
    places = [order.index(step.kind) for step in steps if step.kind not in (move, change)]
    assert places == sorted(places)


@given(key=st.integers(0, 2**32))
def test_draws_stay_in_their_ranges(key: int) -> None:
    """Every drawn parameter lies within the range of its setting."""
    steps = draw(settings_of(**EVERYTHING), key)
    assert abs(first(steps, rotate).degrees) <= 40
    assert abs(first(steps, translate).x) <= 0.2
    assert abs(first(steps, translate).y) <= 0.1
    assert abs(first(steps, shear_columns).degrees) <= 12
    assert 0.7 <= first(steps, scale).x <= 1.3
    assert 0.7 <= first(steps, scale).y <= 1.3
    assert 0.7 <= first(steps, scale_contrast).factor <= 1.3
    assert 0.6 <= first(steps, scale_brightness).factor <= 1.2
    assert 0.5 <= first(steps, scale_saturation).factor <= 1.5
    assert abs(first(steps, rotate_hue).fraction) <= 0.1
    assert np.abs(first(steps, shift_channels).levels).max() <= 20
    rect = first(steps, crop).rect
    assert 0.3 <= rect.width * rect.height <= 0.9 + 1e-9


def test_draws_are_uniform() -> None:
    """Over many keys, draws have the mean and spread of a uniform distribution; half of the views are flipped."""
    settings = settings_of(**EVERYTHING)
    drawn = [draw(settings, "view", 0, "digest", k) for k in range(2000)]
    table = {
        "rotation": np.array([first(steps, rotate).degrees for steps in drawn]),
        "zoom": np.array([first(steps, scale).x for steps in drawn]),
        "brightness": np.array([first(steps, scale_brightness).factor for steps in drawn]),
        "hue": np.array([first(steps, rotate_hue).fraction for steps in drawn]),
    }
    for name, middle, half in [("rotation", 0, 40), ("zoom", 1, 0.3), ("brightness", 0.9, 0.3), ("hue", 0, 0.1)]:
        assert abs(table[name].mean() - middle) < 0.06 * half
        assert abs(table[name].std() * np.sqrt(3) / half - 1) < 0.04
    flips = [is_flipped(steps) for steps in drawn]
    assert abs(np.mean(flips) - 0.5) < 0.04
    zoom_y = [first(steps, scale).y for steps in drawn]
    assert abs(np.corrcoef(table["zoom"], zoom_y)[0, 1]) < 0.07


def test_zoom_accepts_a_fraction_or_two_factors() -> None:
    """A zoom range given as a fraction z is equivalent to the factors (1 - z, 1 + z)."""
    fraction, factors = AugmentationConfig(zoom_range=0.2), AugmentationConfig(zoom_range=(0.8, 1.2))
    assert draw(fraction, "key") == draw(factors, "key")
    assert first(draw(fraction, "key"), scale).x != 1.0


@pytest.fixture
def opencv_threads() -> Iterator[Callable[[int], None]]:
    """Yield the function that sets OpenCV's number of threads, and restore the number afterwards."""
    import cv2

    before = cv2.getNumThreads()
    yield cv2.setNumThreads
    cv2.setNumThreads(before)


def test_the_number_of_opencv_threads_does_not_change_pixels(opencv_threads: Callable[[int], None]) -> None:
    """OpenCV renders a large image identically with one thread and with four."""
    large = np.random.default_rng(3).integers(0, 256, (700, 800, 3), dtype=np.uint8)
    rendered = []
    for threads in (1, 4):
        opencv_threads(threads)
        rendered.append([render(large, settings_of(**EVERYTHING), k) for k in range(4)])
    np.testing.assert_array_equal(*rendered)


def test_concurrent_threads_render_the_same_pixels() -> None:
    """Eight concurrent threads render the same pixels as a single thread, even for large images."""
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
def test_invalid_settings_are_rejected(settings: dict[str, Any]) -> None:
    """A setting outside its valid range raises a validation error."""
    with pytest.raises(ValidationError):
        AugmentationConfig.model_validate(settings)
